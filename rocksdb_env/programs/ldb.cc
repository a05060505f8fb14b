#include <rocksdb/ldb_tool.h>

#include "rocksdb_env/programs/check_uri.h"

int main(int argc, char **argv)
{
    nv::CheckUri(argc, argv);
    rocksdb::LDBTool().Run(argc, argv);
    return 0;
}
