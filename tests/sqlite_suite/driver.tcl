# Run one file of the suite: testfixture driver.tcl FILE [PERMUTATION]
#
# The commands of the file run one by one, and an error that would end it ends
# only the command in which it happened: a file that copies a journal which is
# not there still makes all its other assertions.  Each is told in a line
# "!Error at line N", which counts as a failure.
#
# A database that is open is preallocated and marked, and its last commits may be
# in its log alone.  Where the suite copies such a file, or looks at its size or
# its bytes, it means what a crash would leave there.  So it gets that: a copy of
# file and log, and of that copy what a recovery makes of it (image.c).  The log
# and the shared page are not shown to it, and go when the suite deletes the file.
# A journal is in memory: copying it copies nothing.
#
# After an injected error in a sync a file is read-only until all have closed it,
# so then it is closed and opened again.  A few files are changed besides: edits.tcl.

set argv0 [file normalize [lindex $argv 0]]
set nvmmio_permutation [lindex $argv 1]
set argv {}
info script $argv0

set nvmmio_image [file join [file dirname [info nameofexecutable]] image]

rename file nvmmio_file
rename glob nvmmio_glob
rename open nvmmio_open

# Has a file a log beside it?
proc nvmmio_logged {name} {
  nvmmio_file exists $name-nvmmio
}

# The name of an ordinary file with the content of `name`, for one look at it.
proc nvmmio_plain {name} {
  if {![nvmmio_logged $name]} {return $name}
  set plain nvmmio-image-plain
  nvmmio_file delete $plain $plain-nvmmio
  exec $::nvmmio_image copy $name $plain
  if {[nvmmio_logged $plain]} {error "a commit over several files is under way"}
  return $plain
}

proc nvmmio_copy {arguments} {
  lassign [lrange $arguments end-1 end] from to
  if {[string match *-nvmmio $from] || [string match *-nvmmio-shm $from]} return
  if {[nvmmio_file isdirectory $to]} {set to [nvmmio_file join $to [nvmmio_file tail $from]]}
  if {[regexp {^(.*)-journal$} $from all home] && ![nvmmio_file exists $from]
      && [nvmmio_logged $home]} {
    nvmmio_file delete $to
    return
  }
  if {![nvmmio_logged $from]} {
    return [nvmmio_file copy {*}$arguments]
  }
  if {"-force" ni $arguments && [nvmmio_file exists $to]} {
    error "error copying \"$from\" to \"$to\": file already exists"
  }
  exec $::nvmmio_image copy $from $to
  return
}

proc file {what args} {
  switch -- $what {
    copy { return [nvmmio_copy $args] }
    size {
      if {[nvmmio_logged [lindex $args 0]]} {
        return [exec $::nvmmio_image size [lindex $args 0]]
      }
    }
  }
  uplevel 1 [list nvmmio_file $what {*}$args]
}

proc glob {args} {
  set names {}
  foreach name [uplevel 1 [list nvmmio_glob {*}$args]] {
    if {![string match *-nvmmio $name] && ![string match *-nvmmio-shm $name]} {
      lappend names $name
    }
  }
  return $names
}

proc open {name {access r} args} {
  if {$access in {r rb RDONLY}} {set name [nvmmio_plain $name]}
  nvmmio_open $name $access {*}$args
}

rename hexio_read nvmmio_hexio_read
proc hexio_read {name args} {
  nvmmio_hexio_read [nvmmio_plain $name] {*}$args
}

# Put a procedure of ours in front of one of the suite's, which may be defined again.
proc nvmmio_wrap {name} {
  if {[info commands $name] eq "" || [string match *nvmmio* [info body $name]]} return
  catch {rename nvmmio_suite_$name {}}
  rename $name nvmmio_suite_$name
  proc $name {args} "uplevel 1 nvmmio_$name \$args"
}

proc nvmmio_do_delete_file {force args} {
  nvmmio_suite_do_delete_file $force {*}$args
  foreach name $args {
    nvmmio_file delete -- $name-nvmmio $name-nvmmio-shm
  }
}

# Does anybody have a transaction that writes?
proc nvmmio_reserved {name} {
  sqlite3 nvmmio_probe $name
  set busy [catch {nvmmio_probe eval {BEGIN IMMEDIATE; ROLLBACK}}]
  nvmmio_probe close
  return $busy
}

# Close and open again what refuses writes, or everything.
proc nvmmio_reopen {} {
  set again {}
  foreach db {db db2 db3} {
    if {[info commands $db] eq ""} continue
    if {[catch {$db one {PRAGMA nvmmio_info}} info]} continue
    if {![regexp {"poisoned": *true} $info]} continue
    set file [lindex [$db eval {PRAGMA database_list}] 2]
    $db close
    lappend again $db $file
  }
  foreach {db file} $again {
    sqlite3 $db $file
    sqlite3_extended_result_codes $db 1
    sqlite3_db_config_lookaside $db 0 0 0
  }
}

proc nvmmio_ioerr_injectstop {} {
  set hits [nvmmio_suite_ioerr_injectstop]
  nvmmio_reopen
  return $hits
}

set nvmmio_source [nvmmio_open $argv0]
set nvmmio_text [read $nvmmio_source]
close $nvmmio_source
source [file join [file dirname [info nameofexecutable]] edits.tcl]
foreach {nvmmio_name nvmmio_old nvmmio_new} [regsub -all -line {^ *#.*$} $nvmmio_edits {}] {
  if {$nvmmio_name ne [file rootname [file tail $argv0]]} continue
  if {[string first $nvmmio_old $nvmmio_text] < 0} {error "$argv0 has no $nvmmio_old"}
  set nvmmio_text [string map [list $nvmmio_old $nvmmio_new] $nvmmio_text]
}
set nvmmio_lines [split $nvmmio_text \n]

# One of the suite's permutations, as its run_tests sets it up.
if {$nvmmio_permutation ne ""} {
  source [file join [file dirname [info nameofexecutable]] spec.tcl]
  set testdir [file join [file dirname [info nameofexecutable]] source test]
  array set nvmmio_options [nvmmio_spec $testdir $nvmmio_permutation]
  set ::G(perm:name) $nvmmio_permutation
  set ::G(perm:prefix) $nvmmio_options(-prefix)
  set ::G(isquick) 1
  set ::G(perm:dbconfig) $nvmmio_options(-dbconfig)
  set ::G(perm:presql) $nvmmio_options(-presql)
  source [file join $testdir tester.tcl]
  db close
  eval $nvmmio_options(-initialize)
  reset_db
}

set nvmmio_command {}
set nvmmio_first 1
set nvmmio_line 0
foreach nvmmio_text $nvmmio_lines {
  incr nvmmio_line
  append nvmmio_command $nvmmio_text \n
  if {![info complete $nvmmio_command]} continue
  set nvmmio_code [catch {uplevel #0 $nvmmio_command} nvmmio_message]
  if {$nvmmio_code == 2} break
  nvmmio_wrap do_delete_file
  nvmmio_wrap ioerr_injectstop
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
