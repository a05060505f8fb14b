/*
 * internal: what the files of the SQLite VFS share.
 *
 * SQLite sees three kinds of files through this VFS.  A main database is a
 * struct nv_database: either *native*, which is to say on the engine, or
 * *delegated* to the unix VFS (WAL mode, read-only, file systems that cannot
 * share mappings, ...).  The rollback journal of a native database is a struct
 * nv_journal_file, and lives in memory.  Everything else (temporary files,
 * super-journals, WAL files, journals of delegated databases) is a file of the
 * unix VFS, which this one then has no part in.
 *
 * Threads: as SQLite's own: one file object is used by one thread at a time,
 * different ones at once.  What is shared between them is said at its place.
 * Crash: nothing here persists but the child journal of superjournal.c; all
 * else is the engine's or the unix VFS's.
 */
#ifndef NV_VFS_INTERNAL_H
#define NV_VFS_INTERNAL_H

#include <sqlite3ext.h>
#ifndef SQLITE_CORE
extern const sqlite3_api_routines *sqlite3_api;
#endif

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/nvmmio.h"
#include "sqlite_vfs/mark.h"

#define NV_VFS_NAME "nvmmio"
#define NV_SQLITE_VERSION_MIN 3032000

/* A private file control: *(char **)arg becomes text for sqlite3_free. */
#define NV_FCNTL_INFO 0x6e766d01
#define NV_FCNTL_STATS 0x6e766d02

#define NV_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define NV_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* ---- vfs.c: the VFS and the one below it --------------------------------------------------- */

extern sqlite3_vfs nv_vfs;
static inline sqlite3_vfs *nv_vfs_base(void)
{
    return nv_vfs.pAppData;
}
/* Register, unless another copy of the library in this process has; 0 or an SQLite code. */
int nv_vfs_register(bool make_default);
/* The VFS called "nvmmio": ours, or another copy's; NULL before it is registered. */
sqlite3_vfs *nv_vfs_find(void);

/* ---- open.c -------------------------------------------------------------------------------- */

int nv_vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags);

/* ---- knobs.c: the user's options ----------------------------------------------------------- */

struct nv_knobs {
    struct nvmmio_options options; /* log_dir points into `log_dir` */
    char *log_dir;                 /* sqlite3_malloc; NULL: beside home */
    bool wal_refuse;
};

/* Read URI parameters of `name` and the environment.  An SQLite code; the words were reported. */
int nv_knobs_read(struct nv_knobs *knobs, const char *name);
void nv_knobs_free(struct nv_knobs *knobs);
/* The option's value as text for sqlite3_free; *known says whether there is such an option. */
char *nv_knobs_text(const struct nv_knobs *knobs, const char *option, bool *known);

/* ---- memjournal.c: a journal in memory ----------------------------------------------------- */

#define NV_CHUNK_BYTES 65536
#define NV_CHUNKS_MAX 64  /* 4 MiB in memory; the rest goes to a temporary file */
#define NV_CHUNKS_KEPT 16 /* 1 MiB is kept between transactions */

struct nv_spill;

struct nv_memjournal {
    int64_t bytes;
    uint8_t *chunks[NV_CHUNKS_MAX];
    struct nv_spill *spill; /* NULL: all of it is in the chunks */
};

/* SQLite codes; a read past the end gives zeros and SQLITE_IOERR_SHORT_READ. */
int nv_memjournal_read(struct nv_memjournal *journal, void *buffer, int bytes, int64_t offset);
int nv_memjournal_write(struct nv_memjournal *journal, const void *data, int bytes, int64_t offset);
int nv_memjournal_truncate(struct nv_memjournal *journal, int64_t bytes);
/* Empty it; free what is more than a usual transaction needs. */
void nv_memjournal_reset(struct nv_memjournal *journal);
void nv_memjournal_free(struct nv_memjournal *journal);

/* ---- A main database ----------------------------------------------------------------------- */

enum { NV_GATE_IDLE, NV_GATE_ENTERED, NV_GATE_CAPTURED };

#define NV_MOVED_CHECKS 16 /* see nv_control_moved */

struct nv_database {
    sqlite3_file base;   /* first; pMethods is nv_native_methods or nv_delegated_methods */
    struct nvmmio *core; /* the engine's handle; NULL: none at present */

    /*
     * Who uses `core`: its own thread from the first lock until it is back at
     * none, or a thread that makes this idle handle leave (nv_mode_leave).
     */
    _Atomic int gate;
    _Atomic int level;   /* the lock that SQLite believes to hold; relaxed, see nv_level */
    _Atomic bool native; /* relaxed */

    int owed;             /* delegated: a lock that it still has to get, see nv_mode_pay */
    int timeout_ms;       /* SQLITE_FCNTL_LOCK_TIMEOUT */
    bool pending;         /* an EXCLUSIVE failed, and keeps new readers out */
    bool synced;          /* this transaction saw an xSync */
    bool to_wal;          /* page 1, as staged, says WAL mode */
    bool doubt;           /* a commit of this transaction failed: it happened, or did not */
    bool leave;           /* page 1, as committed, says so: switch when SQLite holds no lock */
    bool checked;         /* joined, and found nothing that asks for delegation */
    bool cold_journal;    /* a journal that is not hot lies on disk */
    bool leftover_sought; /* a log beside a database in WAL mode */

    bool fixed;          /* delegated for good */
    bool read_only;      /* the unix VFS got no write access, or was asked for none */
    int fetched;         /* xFetch without xUnfetch, from the engine */
    int64_t fetch_bytes; /* mmap_size, as the unix VFS granted it */
    int chunk_bytes;
    int64_t allocated;   /* SIZE_HINT up to here was honoured */
    int moved_checks;    /* left */
    int64_t moved_at_ns; /* when they were last topped up */
    int last_errno;
    char *super;      /* prepared for this super-journal */
    bool super_named; /* the journal has the name of one, and there is a child, but no prepare */

    struct nv_memjournal journal;
    struct nv_knobs knobs;
    char why[224]; /* why it is delegated */

    sqlite3_file *file; /* the unix VFS's, always open; its memory follows this struct */
    const char *name, *journal_name, *wal_name; /* SQLite's memory, valid while open */

    /* names.c, under its mutex */
    struct nv_database *next, *previous;
    uint64_t device, inode;
};

extern const sqlite3_io_methods nv_native_methods;
extern const sqlite3_io_methods nv_delegated_methods;

/* Written by the database's own thread alone; another only reads them (nv_names_search). */
static inline int nv_level(const struct nv_database *db)
{
    return atomic_load_explicit(&db->level, memory_order_relaxed);
}

static inline void nv_level_set(struct nv_database *db, int level)
{
    atomic_store_explicit(&db->level, level, memory_order_relaxed);
}

static inline bool nv_native(const struct nv_database *db)
{
    return atomic_load_explicit(&db->native, memory_order_relaxed);
}

/* Enter and leave the gate; only a handle that holds no lock needs to. */
void nv_gate_enter(struct nv_database *db);
static inline void nv_gate_leave(struct nv_database *db)
{
    atomic_store_explicit(&db->gate, NV_GATE_IDLE, memory_order_release);
}

int nv_database_close(sqlite3_file *file);
int nv_database_control(sqlite3_file *file, int operation, void *argument);

/* ---- native.c, phase.c: databases on the engine ------------------------------------------- */

/* Make a handle of the engine if there is none.  0 or -errno. */
int nv_native_open(struct nv_database *db);
int nv_native_unlock(sqlite3_file *file, int level);

int nv_phase_seal(struct nv_database *db, const char *super); /* FCNTL_SYNC */
int nv_phase_sync(struct nv_database *db);                    /* xSync */
int nv_phase_end(struct nv_database *db);                     /* FCNTL_COMMIT_PHASETWO */
int nv_phase_batch(struct nv_database *db, int operation);    /* FCNTL_*_ATOMIC_WRITE */

/* ---- superjournal.c: one commit over several databases ------------------------------------- */

/* Whether this write to a journal is the end of a super-journal's name. */
bool nv_super_ends_name(const void *data, int bytes);
/* The journal has such a name before `end`: make the child. */
int nv_super_name(struct nv_database *db, int64_t end);
/* That journal is at its end without a prepare. */
void nv_super_unname(struct nv_database *db);
/* Prepare what is staged for the outcome that the file `super` decides. */
int nv_super_prepare(struct nv_database *db, const char *super);
/* Is the super-journal gone?  Then commit, else take the transaction back. */
int nv_super_settle(struct nv_database *db);

/* ---- mode.c: native or delegated? ---------------------------------------------------------- */

/* SHARED for a database that holds no lock, after deciding how it is to be used. */
int nv_mode_lock(struct nv_database *db);
/* Give the engine's handles on this file up, idle ones of this process too, if nothing is left to
 * be done on them.  The caller is in the gate and holds no lock of the engine. */
void nv_mode_leave(struct nv_database *db);
/* SQLite opens a WAL on a native database that holds a lock: delegate it here and now. */
int nv_mode_switch(struct nv_database *db);
/* Try to get the lock that is owed since then. */
int nv_mode_pay(struct nv_database *db);
/* May this file be used at all, where SQLite takes no locks (immutable, nolock)? */
int nv_mode_unlocked(struct nv_database *db, bool immutable);
/* Delegate for good. */
void nv_mode_fix(struct nv_database *db, const char *why, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- page1.c: page 1 and the mark --------------------------------------------------------- */

struct nv_page1 {
    uint8_t bytes[NV_PAGE1_BYTES]; /* zeros where the file is shorter */
    bool marked;                   /* a log of the engine belongs to this file */
    bool wal;
};

/* As it stands in home, through the unix VFS. */
int nv_page1_read(struct nv_database *db, struct nv_page1 *page1);
void nv_page1_parse(struct nv_page1 *page1);
/* Take the mark out of `bytes` bytes of home at `offset`, when the header says that it is there. */
void nv_page1_unmark(const struct nv_page1 *page1, void *buffer, int bytes, int64_t offset);

/* ---- names.c: which database does a journal's name belong to? ------------------------------ */

void nv_names_add(struct nv_database *db);
void nv_names_remove(struct nv_database *db);
/* By the address of the name that SQLite uses; no lock, no comparison of strings. */
struct nv_database *nv_names_find(const char *name);
/* By its text: for VFS shims that copy names.  A native database that holds RESERVED, or NULL. */
struct nv_database *nv_names_search(const char *journal_name);
/* Call `visit` for every other database on the same file. */
void nv_names_others(struct nv_database *db, void (*visit)(struct nv_database *other));
/* Wait until no thread is in nv_names_others. */
void nv_names_barrier(void);

/* ---- journal.c ----------------------------------------------------------------------------- */

void nv_journal_open(struct nv_database *db, sqlite3_file *file, int flags, int *out_flags);
int nv_journal_delete(struct nv_database *db, int sync_directory);

/* What lies on disk beside a database. */
enum nv_beside { NV_BESIDE_NOTHING, NV_BESIDE_COLD_JOURNAL, NV_BESIDE_HOT_JOURNAL, NV_BESIDE_WAL };
int nv_journal_look(struct nv_database *db, enum nv_beside *beside);

/* ---- control.c, report.c --------------------------------------------------------------------- */

int nv_control_pragma(struct nv_database *db, char **arguments);
/* JSON for sqlite3_free, NULL without memory. */
char *nv_report_text(struct nv_database *db);
char *nv_report_stats_text(struct nv_database *db);
char *nv_report_general_text(sqlite3 *connection);

/* ---- trouble.c: failures, in SQLite's codes and in words ------------------------------------ */

/*
 * An engine call failed with `error` (-errno): the SQLite code for it, which is
 * `otherwise` where nothing fits better.  Unless it is BUSY, tells sqlite3_log
 * and remembers for nvmmio_info.
 */
int nv_trouble(struct nv_database *db, int error, int otherwise, const char *what);
/* The same for a failure of our own.  Returns `code`. */
int nv_trouble_say(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The last failure in this process; "" if there was none. */
void nv_trouble_last(char *text, size_t bytes);

/* ---- functions.c --------------------------------------------------------------------------- */

int nv_functions_register(sqlite3 *db);

#endif
