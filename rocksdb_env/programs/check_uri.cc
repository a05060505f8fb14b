#include "rocksdb_env/programs/check_uri.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include "rocksdb_env/nvmmio_rocksdb.h"

namespace nv
{

namespace
{

/* The value of `option` when this argument, or this and the next, give it; else nullptr. */
const char *ValueOf(const char *option, const char *argument, const char *next)
{
    const size_t bytes = strlen(option);

    while (*argument == '-')
        argument++;
    if (strncmp(argument, option, bytes) != 0)
        return nullptr;
    if (argument[bytes] == '=')
        return argument + bytes + 1;
    return argument[bytes] == '\0' ? next : nullptr;
}

void Refuse(const char *option, const char *value, const rocksdb::Status &status)
{
    if (status.ok())
        return;
    fprintf(stderr, "--%s=%s: %s\n", option, value, status.ToString().c_str());
    exit(2);
}

} // namespace

void CheckUri(int argc, char **argv)
{
    rocksdb::ConfigOptions strict;

    nvmmio_rocksdb_register();
    strict.ignore_unsupported_options = false;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : nullptr;

        for (const char *option : {"fs_uri", "backup_fs_uri"}) {
            const char *value = ValueOf(option, argv[i], next);
            std::shared_ptr<rocksdb::FileSystem> file_system;

            if (value && value[0])
                Refuse(option, value,
                       rocksdb::FileSystem::CreateFromString(strict, value, &file_system));
        }
        for (const char *option : {"env_uri", "backup_env_uri"}) {
            const char *value = ValueOf(option, argv[i], next);
            std::shared_ptr<rocksdb::Env> guard;
            rocksdb::Env *env = nullptr;

            if (value && value[0])
                Refuse(option, value, rocksdb::Env::CreateFromUri(strict, value, "", &env, &guard));
        }
    }
}

} // namespace nv
