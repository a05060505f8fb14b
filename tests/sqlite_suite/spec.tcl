# The suite's own lists of tests, its permutations: nvmmio_spec TESTDIR NAME gives
# the options of one as a list, its -files among them.
#
# As a program: tclsh spec.tcl TESTDIR NAME prints the files, one a line.

proc nvmmio_spec {testdir name} {
  interp create spec
  spec eval {
    rename source spec_source
    foreach command {source db unknown} {proc $command args {}}
  }
  spec eval [list set argv0 [file join $testdir other.test]]
  spec eval [list spec_source [file join $testdir permutations.test]]
  set options [spec eval [list set ::testspec($name)]]
  interp delete spec
  return $options
}

if {[info exists argv] && [llength $argv] == 2 && [file tail [info script]] eq "spec.tcl"
    && [info exists argv0] && [file tail $argv0] eq "spec.tcl"} {
  array set options [nvmmio_spec {*}$argv]
  foreach file [lsort $options(-files)] {
    puts [file normalize [file join [lindex $argv 0] $file]]
  }
}
