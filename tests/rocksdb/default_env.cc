/*
 * default_env: for those of RocksDB's own tests that ask for Env::Default() or
 * FileSystem::Default() and never look at TEST_FS_URI.  A program's own definition
 * of a function goes before its libraries'; these answer with nvmmio where
 * TEST_FS_URI says so.
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

using SharedFileSystem = std::shared_ptr<rocksdb::FileSystem>;

template <typename Result> Result LibrarysDefault(const char *name)
{
    using Function = Result();
    void *const function = dlsym(RTLD_NEXT, name);

    if (!function)
        return Result();
    return reinterpret_cast<Function *>(function)();
}

rocksdb::Env *LibrarysEnv()
{
    return LibrarysDefault<rocksdb::Env *>("_ZN7rocksdb3Env7DefaultEv");
}

/* What an Env and a FileSystem are made of asks for the default too. */
thread_local bool making = false;
/* The library's Env ends itself in another way when it finds that it is not the default. */
bool ended = false;

struct End {
    ~End()
    {
        ended = true;
    }
};

const char *Uri()
{
    const char *const uri = getenv("TEST_FS_URI");

    return making || ended || !uri || !uri[0] ? nullptr : uri;
}

/* Makes what is called here get the library's. */
class Making
{
  public:
    Making()
    {
        making = true;
    }
    ~Making()
    {
        making = false;
    }
    Making(const Making &) = delete;
    Making &operator=(const Making &) = delete;
};

SharedFileSystem MakeFileSystem(const char *uri)
{
    const Making guard;
    rocksdb::ConfigOptions strict; /* asks for the default, too */
    SharedFileSystem file_system;

    nvmmio_rocksdb_register();
    strict.ignore_unsupported_options = false;
    const rocksdb::Status status = rocksdb::FileSystem::CreateFromString(strict, uri, &file_system);
    if (!status.ok()) {
        fprintf(stderr, "%s: %s\n", uri, status.ToString().c_str());
        exit(2);
    }
    return file_system;
}

rocksdb::Env *MakeEnv(const char *uri)
{
    const SharedFileSystem file_system = MakeFileSystem(uri);
    const Making guard;

    return rocksdb::NewCompositeEnv(file_system).release();
}

} // namespace

/* Not where the test is about the library's own FileSystem. */
#ifdef DEFAULT_FILE_SYSTEM
SharedFileSystem rocksdb::FileSystem::Default()
{
    const char *const uri = Uri();

    if (!uri)
        return LibrarysDefault<SharedFileSystem>("_ZN7rocksdb10FileSystem7DefaultEv");
    static const auto *const made = new SharedFileSystem(MakeFileSystem(uri));
    return *made;
}
#endif

rocksdb::Env *rocksdb::Env::Default()
{
    const char *const uri = Uri();

    if (!uri)
        return LibrarysEnv();
    static Env *const made = MakeEnv(uri);
    static const End end;
    return made;
}
