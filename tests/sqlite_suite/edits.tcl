# What is changed in files of the suite before they run, so that they can: file, old
# text, new text.  Each old text must be there.

set nvmmio_edits {
  # The other process is waited for by its journal, which is in memory.
  lock4
    {while {![file exists test2.db-journal]}}
    {while {![nvmmio_reserved test2.db]}}
  lock4
    {while {[file exists test2.db-journal]}}
    {while {[nvmmio_reserved test2.db]}}
  lock4
    {sqlite3 db2 test2.db
     db2 eval}
    {sqlite3 db2 test2.db
     db2 timeout 100000
     db2 eval}

  # Into WAL mode before other processes come: while they have it open here, it is locked.
  wal5
    {    sql2 { ATTACH 'test.db2' AS aux }
    sql3 { ATTACH 'test.db2' AS aux }
    sql1 {
      PRAGMA aux.auto_vacuum = 0;
      PRAGMA main.auto_vacuum = 0;
      PRAGMA main.page_size=1024; PRAGMA main.journal_mode=WAL;
      PRAGMA aux.page_size=1024;  PRAGMA aux.journal_mode=WAL;
    }}
    {    sql1 {
      PRAGMA aux.auto_vacuum = 0;
      PRAGMA main.auto_vacuum = 0;
      PRAGMA main.page_size=1024; PRAGMA main.journal_mode=WAL;
      PRAGMA aux.page_size=1024;  PRAGMA aux.journal_mode=WAL;
    }
    sql2 { ATTACH 'test.db2' AS aux }
    sql3 { ATTACH 'test.db2' AS aux }}

  # After a sync that failed, a file is read-only until it is reopened.
  ioerr2
    {set rc [catch {execsql {PRAGMA integrity_check}} msg]}
    {nvmmio_reopen; set rc [catch {execsql {PRAGMA integrity_check}} msg]}

  # In exclusive mode the connection has to be closed for that.
  incrvacuum_ioerr
    {    set nFree2 [execsql {pragma freelist_count} db1]
    set nPage2 [execsql {pragma page_count} db1]
  
    do_test incrvacuum-ioerr-4.}
    {    if {$::rc} {
      db1 close
      db2 close
      sqlite3 db1 test.db
      sqlite3 db2 test.db
      execsql {PRAGMA locking_mode = exclusive} db1
    }
    set nFree2 [execsql {pragma freelist_count} db1]
    set nPage2 [execsql {pragma page_count} db1]
  
    do_test incrvacuum-ioerr-4.}

  # The other process has to lock the same bytes.
  pragma3
    {sqlite3 db test.db;
     db eval {DELETE FROM t1 WHERE a>300};}
    {sqlite3_test_control_pending_byte 0x0010000
     sqlite3 db test.db;
     db eval {DELETE FROM t1 WHERE a>300};}

  # A database that is open is not to be copied over.
  sessioninvert
    {forcecopy test.db test.db2}
    {catch {db2 close}; catch {db3 close}; forcecopy test.db test.db2}

  # Into WAL mode while no other process has it open.
  tkt-5d863f876e
    {sql2 { SELECT * FROM t1 }}
    {set rows [sql2 { SELECT * FROM t1 }]; code2 {db2 close; sqlite3 db2 test.db}; set rows}

  # A directory in the journal's place does not make a COMMIT fail.
  io
    {do_test io-2.6.3 }
    {execsql {DELETE FROM abc WHERE a = 9}
do_test io-2.6.3 }
}
