/*
 * names: which open database does the name of a journal belong to?
 *
 * SQLite asks this VFS about journals by name, several times a transaction, and
 * always with the same pointer: the one that sqlite3_filename_journal gives for
 * the name that the database was opened with.  So a small table of pointers
 * answers without comparing strings and without a lock.  It has a fixed size; a
 * database that finds no place in it is found by the list, under the mutex.
 *
 * Threads: any.  An entry is only ever asked for by a thread that uses the
 * database, so it can neither appear nor vanish under the question; entries of
 * other databases can, and do no harm.
 */
#include <pthread.h>
#include <string.h>

#include "sqlite_vfs/internal.h"

#define NV_NAMES_BITS 11
#define NV_NAMES_SLOTS (1u << NV_NAMES_BITS)
#define NV_NAMES_PROBES 8u

struct nv_name {
    _Atomic(const char *) name; /* NULL: free.  Set last, cleared first */
    _Atomic(struct nv_database *) db;
};

static struct nv_name table[NV_NAMES_SLOTS];
static _Atomic unsigned left_out; /* names that are in the list alone */

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct nv_database *list; /* all open main databases, under list_mutex */

static unsigned names_hash(const char *name)
{
    return (unsigned)(((uint64_t)(uintptr_t)name * UINT64_C(0x9e3779b97f4a7c15)) >>
                      (64 - NV_NAMES_BITS));
}

static void table_add(const char *name, struct nv_database *db)
{
    unsigned first = names_hash(name);

    for (unsigned i = 0; i < NV_NAMES_PROBES; i++) {
        struct nv_name *slot = &table[(first + i) % NV_NAMES_SLOTS];

        if (atomic_load_explicit(&slot->name, memory_order_relaxed))
            continue;
        atomic_store_explicit(&slot->db, db, memory_order_relaxed);
        atomic_store_explicit(&slot->name, name, memory_order_release);
        return;
    }
    atomic_fetch_add(&left_out, 1);
}

static void table_remove(const char *name)
{
    unsigned first = names_hash(name);

    for (unsigned i = 0; i < NV_NAMES_PROBES; i++) {
        struct nv_name *slot = &table[(first + i) % NV_NAMES_SLOTS];

        if (atomic_load_explicit(&slot->name, memory_order_relaxed) != name)
            continue;
        atomic_store_explicit(&slot->name, NULL, memory_order_release);
        return;
    }
    atomic_fetch_sub(&left_out, 1);
}

void nv_names_add(struct nv_database *db)
{
    pthread_mutex_lock(&list_mutex);
    table_add(db->journal_name, db);
    table_add(db->wal_name, db);
    db->previous = NULL;
    db->next = list;
    if (list)
        list->previous = db;
    list = db;
    pthread_mutex_unlock(&list_mutex);
}

void nv_names_remove(struct nv_database *db)
{
    pthread_mutex_lock(&list_mutex);
    table_remove(db->journal_name);
    table_remove(db->wal_name);
    if (db->next)
        db->next->previous = db->previous;
    if (db->previous)
        db->previous->next = db->next;
    else
        list = db->next;
    pthread_mutex_unlock(&list_mutex);
}

static struct nv_database *list_find(const char *name)
{
    struct nv_database *db;

    pthread_mutex_lock(&list_mutex);
    for (db = list; db; db = db->next) {
        if (db->journal_name == name || db->wal_name == name)
            break;
    }
    pthread_mutex_unlock(&list_mutex);
    return db;
}

struct nv_database *nv_names_find(const char *name)
{
    unsigned first = names_hash(name);

    for (unsigned i = 0; i < NV_NAMES_PROBES; i++) {
        struct nv_name *slot = &table[(first + i) % NV_NAMES_SLOTS];

        if (atomic_load_explicit(&slot->name, memory_order_acquire) == name && name)
            return atomic_load_explicit(&slot->db, memory_order_relaxed);
    }
    if (NV_UNLIKELY(atomic_load_explicit(&left_out, memory_order_relaxed)))
        return list_find(name);
    return NULL;
}

/* Of all handles on one file only the one that asks can have RESERVED. */
struct nv_database *nv_names_search(const char *journal_name)
{
    struct nv_database *db;

    pthread_mutex_lock(&list_mutex);
    for (db = list; db; db = db->next) {
        if (nv_native(db) && nv_level(db) >= SQLITE_LOCK_RESERVED &&
            strcmp(db->journal_name, journal_name) == 0)
            break;
    }
    pthread_mutex_unlock(&list_mutex);
    return db;
}

void nv_names_others(struct nv_database *db, void (*visit)(struct nv_database *other))
{
    pthread_mutex_lock(&list_mutex);
    for (struct nv_database *other = list; other; other = other->next) {
        if (other != db && other->device == db->device && other->inode == db->inode)
            visit(other);
    }
    pthread_mutex_unlock(&list_mutex);
}

void nv_names_barrier(void)
{
    pthread_mutex_lock(&list_mutex);
    pthread_mutex_unlock(&list_mutex);
}
