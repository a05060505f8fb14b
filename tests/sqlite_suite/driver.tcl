# Run one file of the suite: testfixture driver.tcl FILE
#
# The commands of the file run one by one, and an error that would end it ends
# only the command in which it happened: a file that copies a journal which is
# not there still makes all its other assertions.  Each is told in a line
# "!Error at line N", which counts as a failure.
#
# Where the suite deletes a database and knows to delete its journal with it, the
# log and the shared page beside it go too.

set argv0 [file normalize [lindex $argv 0]]
set argv {}
info script $argv0

proc nvmmio_delete_sidecars {force args} {
  nvmmio_do_delete_file $force {*}$args
  foreach name $args {
    if {[file exists $name-nvmmio]} {file delete $name-nvmmio}
    if {[file exists $name-nvmmio-shm]} {file delete $name-nvmmio-shm}
  }
}

set nvmmio_source [open $argv0]
set nvmmio_lines [split [read $nvmmio_source] \n]
close $nvmmio_source

set nvmmio_command {}
set nvmmio_first 1
set nvmmio_line 0
foreach nvmmio_text $nvmmio_lines {
  incr nvmmio_line
  append nvmmio_command $nvmmio_text \n
  if {![info complete $nvmmio_command]} continue
  set nvmmio_code [catch {uplevel #0 $nvmmio_command} nvmmio_message]
  if {$nvmmio_code == 2} break
  if {[info commands do_delete_file] ne "" && [info commands nvmmio_do_delete_file] eq ""} {
    rename do_delete_file nvmmio_do_delete_file
    rename nvmmio_delete_sidecars do_delete_file
  }
  if {$nvmmio_code == 1} {
    puts "\n$nvmmio_message\n$::errorInfo"
    puts "!Error at line $nvmmio_first"
    flush stdout
  }
  set nvmmio_command {}
  set nvmmio_first [expr {$nvmmio_line + 1}]
}
# A file that ends without finish_test, or returned before it.
if {[info commands finish_test] ne ""} finish_test
