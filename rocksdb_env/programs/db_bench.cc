#include <rocksdb/db_bench_tool.h>

#include "rocksdb_env/programs/check_uri.h"

int main(int argc, char **argv)
{
    nv::CheckUri(argc, argv);
    return rocksdb::db_bench_tool(argc, argv);
}
