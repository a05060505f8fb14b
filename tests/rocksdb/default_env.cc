/*
 * default_env: for those of RocksDB's own tests that ask for Env::Default() and
 * never look at TEST_FS_URI.  A program's own definition of a function goes
 * before its libraries'; this one answers with nvmmio where TEST_FS_URI says so.
 */
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <dlfcn.h>
#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include "rocksdb_env/nvmmio_rocksdb.h"

namespace
{

rocksdb::Env *LibrarysDefault()
{
    using Function = rocksdb::Env *();
    void *const function = dlsym(RTLD_NEXT, "_ZN7rocksdb3Env7DefaultEv");

    return function ? reinterpret_cast<Function *>(function)() : nullptr;
}

/* The library's Env ends itself in another way when it finds that it is not the default. */
bool ended = false;

struct End {
    ~End()
    {
        ended = true;
    }
};

rocksdb::Env *MakeDefault(const char *uri)
{
    rocksdb::ConfigOptions strict;
    std::shared_ptr<rocksdb::FileSystem> file_system;

    nvmmio_rocksdb_register();
    strict.ignore_unsupported_options = false;
    const rocksdb::Status status = rocksdb::FileSystem::CreateFromString(strict, uri, &file_system);
    if (!status.ok()) {
        fprintf(stderr, "%s: %s\n", uri, status.ToString().c_str());
        exit(2);
    }
    return rocksdb::NewCompositeEnv(file_system).release();
}

} // namespace

rocksdb::Env *rocksdb::Env::Default()
{
    static thread_local bool making = false;
    const char *const uri = getenv("TEST_FS_URI");

    /* What an Env is made of asks for the default too. */
    if (making || ended || !uri || !uri[0])
        return LibrarysDefault();
    making = true;
    static Env *const made = MakeDefault(uri);
    static const End end;
    making = false;
    return made;
}
