/*
 * nvmmio's SQLite VFS, for programs that link it statically.
 *
 *     #include "sqlite_vfs/nvmmio_vfs.h"
 *
 *     nvmmio_vfs_register(0);
 *     sqlite3_open_v2("app.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "nvmmio");
 *
 * Programs that load it (`SELECT load_extension('./nvmmio')`, `.load ./nvmmio`)
 * need nothing of this.  README.md, beside this file, is the manual.
 */
#ifndef NVMMIO_VFS_H
#define NVMMIO_VFS_H

#ifdef __cplusplus
extern "C" {
#endif

struct sqlite3;

/*
 * Register the VFS "nvmmio" with the SQLite that this program is linked to, and
 * make it the default if `make_default` is not 0 or the environment has
 * NVMMIO_DEFAULT_VFS=1.  Any number of times, from any thread, before or after
 * sqlite3_initialize.  Returns SQLITE_OK, or SQLITE_ERROR when this SQLite is too
 * old or has no VFS "unix".
 */
int nvmmio_vfs_register(int make_default);

/*
 * Add the SQL functions nvmmio_default_vfs, nvmmio_info and nvmmio_stats to a
 * connection, as loading the extension does.  Returns an SQLite code.
 */
int nvmmio_vfs_functions(struct sqlite3 *db);

#ifdef __cplusplus
}
#endif
#endif
