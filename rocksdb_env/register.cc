/*
 * register: how RocksDB finds the FileSystem by its URI.
 *
 * RocksDB takes a name that it does not know, in some of its interfaces, for a
 * wish that may be left unfulfilled, and stays with posix.  So what is called
 * here is asked first, and what cannot be had is an error in words.
 */
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <rocksdb/c.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/utilities/object_registry.h>

#include "rocksdb_env/file_system.h"
#include "rocksdb_env/nvmmio_rocksdb.h"

namespace
{

using rocksdb::Env;
using rocksdb::FileSystem;
using rocksdb::ObjectLibrary;

ObjectLibrary::PatternEntry Pattern()
{
    return ObjectLibrary::PatternEntry("nvmmio", true).AddSeparator("://", false);
}

FileSystem *MakeFileSystem(const std::string &uri, std::unique_ptr<FileSystem> *made,
                           std::string *message)
{
    const rocksdb::Status status = nv::NewFileSystem(uri, made);

    if (!status.ok())
        *message = status.ToString();
    return made->get();
}

/*
 * One Env for all that ask for the same: an Env in options has no owner, so it
 * lives as long as the process.
 */
Env *FindEnv(const std::string &uri, std::unique_ptr<Env> *made, std::string *message)
{
    static std::mutex mutex;
    static auto *const envs = new std::map<std::string, Env *>;
    nv::Settings settings;
    const rocksdb::Status status = nv::ReadSettings(uri, &settings);

    made->reset();
    if (!status.ok()) {
        *message = status.ToString();
        return nullptr;
    }

    const std::lock_guard<std::mutex> guard(mutex);
    Env *&env = (*envs)[settings.Canonical()];
    if (!env) {
        std::unique_ptr<FileSystem> file_system;

        if (MakeFileSystem(uri, &file_system, message))
            env = rocksdb::NewCompositeEnv(std::move(file_system)).release();
    }
    return env;
}

int AddTo(ObjectLibrary &library)
{
    library.AddFactory<FileSystem>(Pattern(), MakeFileSystem);
    library.AddFactory<Env>(Pattern(), FindEnv);
    return 2;
}

const bool registered_before_main = (nvmmio_rocksdb_register(), true);

} // namespace

extern "C" {

void nvmmio_rocksdb_register(void)
{
    static std::once_flag once;

    std::call_once(once, [] { AddTo(*ObjectLibrary::Default()); });
}

void nvmmio_rocksdb_options_set(rocksdb_options_t *options, const char *uri, char **errptr)
{
    nv::Settings settings;
    const rocksdb::Status status = nv::ReadSettings(uri ? uri : "", &settings);

    nvmmio_rocksdb_register();
    if (!status.ok()) {
        free(*errptr);
        *errptr = strdup(status.ToString().c_str());
        return;
    }
    const std::string wish = "env={id=" + settings.Canonical() + "}";
    rocksdb_get_options_from_string(options, wish.c_str(), options, errptr);
}

/* What upstream's build calls for a plug-in that is named in ROCKSDB_PLUGINS. */
int nvmmio_rocksdb_plugin(ObjectLibrary &library, const std::string &);
int nvmmio_rocksdb_plugin(ObjectLibrary &library, const std::string &)
{
    return AddTo(library);
}
}
