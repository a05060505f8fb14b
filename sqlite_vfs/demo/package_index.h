/*
 * package_index: a Debian package index (what `apt-cache dumpavail` prints, or
 * /var/lib/dpkg/status), parsed whole, so that reading it takes no part in what
 * an import is timed for.
 */
#ifndef NV_DEMO_PACKAGE_INDEX_H
#define NV_DEMO_PACKAGE_INDEX_H

#include <stddef.h>
#include <stdint.h>

/* A piece of the index; text is NULL where the package has no such field. */
struct nv_slice {
    const char *text;
    int bytes;
};

/* The fields that become columns, in their order.  The name is the first. */
#define NV_PACKAGE_FIELDS 13
extern const char *const nv_package_fields[NV_PACKAGE_FIELDS];

struct nv_package {
    struct nv_slice field[NV_PACKAGE_FIELDS];
    struct nv_slice depends[2]; /* Pre-Depends, Depends */
};

struct nv_package_index {
    char *text;
    struct nv_package *packages;
    size_t count;
};

/* 0 or -errno. */
int nv_package_index_read(const char *path, struct nv_package_index *index);
void nv_package_index_free(struct nv_package_index *index);

/* The next entry of a comma-separated list, without the blanks around it; text NULL at the end. */
struct nv_slice nv_package_next_dependency(struct nv_slice *rest);

/* FNV-1a over the values of a package, to compare what was read with what was stored. */
#define NV_CONTENT_HASH_SEED UINT64_C(0xcbf29ce484222325)
uint64_t nv_content_hash_add(uint64_t hash, struct nv_slice value);

#endif
