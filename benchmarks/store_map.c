#include "benchmarks/store.h"

#include <errno.h>
#include <libpmem.h>

#define PAGE_BYTES 4096u

int nv_store_map_open(struct nv_store_map *map, const char *path, uint64_t bytes)
{
    int is_pmem;
    map->base =
        pmem_map_file(path, bytes, bytes ? PMEM_FILE_CREATE : 0, 0644, &map->bytes, &is_pmem);
    if (!map->base)
        return -errno;
    for (size_t i = 0; i < map->bytes; i += PAGE_BYTES) {
        volatile uint8_t *page = map->base + i;
        const uint8_t same = *page;
        *page = same;
    }
    return 0;
}

void nv_store_map_close(struct nv_store_map *map)
{
    if (map->base)
        pmem_unmap(map->base, map->bytes);
    map->base = NULL;
}
