#include "tests/rocksdb/managed.h"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/listener.h>
#include <rocksdb/sst_file_manager.h>

#include "rocksdb_env/nvmmio_rocksdb.h"

namespace
{

constexpr size_t kValueBytes = 1024;

class Listener : public rocksdb::EventListener
{
  public:
    void OnErrorRecoveryCompleted(rocksdb::Status) override
    {
        const std::lock_guard<std::mutex> guard(mutex_);

        recovered_ = true;
        changed_.notify_all();
    }

    bool Wait()
    {
        std::unique_lock<std::mutex> guard(mutex_);

        return changed_.wait_for(guard, std::chrono::minutes(1), [this] { return recovered_; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool recovered_ = false;
};

std::string Key(uint64_t n)
{
    char key[32];

    (void)snprintf(key, sizeof key, "%012llu", static_cast<unsigned long long>(n));
    return key;
}

std::string Value(uint64_t n)
{
    std::string value(kValueBytes, static_cast<char>('a' + n % 26));

    memcpy(value.data(), &n, sizeof n);
    return value;
}

enum managed_result Result(const rocksdb::Status &status)
{
    if (status.ok())
        return MANAGED_OK;
    if (status.IsNoSpace())
        return MANAGED_NO_SPACE;
    fprintf(stderr, "%s\n", status.ToString().c_str());
    return MANAGED_OTHER;
}

} // namespace

struct managed {
    std::unique_ptr<rocksdb::Env> env;
    std::shared_ptr<Listener> listener = std::make_shared<Listener>();
    std::unique_ptr<rocksdb::DB> db;
};

struct managed *managed_open(const char *path, const struct managed_options *wanted)
{
    auto managed = std::make_unique<struct managed>();
    std::shared_ptr<rocksdb::FileSystem> file_system = rocksdb::FileSystem::Default();
    rocksdb::ConfigOptions strict;
    rocksdb::Options options;
    rocksdb::DB *db = nullptr;

    nvmmio_rocksdb_register();
    strict.ignore_unsupported_options = false;
    if (wanted->uri && Result(rocksdb::FileSystem::CreateFromString(strict, wanted->uri,
                                                                    &file_system)) != MANAGED_OK)
        return nullptr;
    managed->env = rocksdb::NewCompositeEnv(file_system);
    options.env = managed->env.get();
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    /* A manager waits until this much is free. */
    options.write_buffer_size = 8 << 20;
    options.wal_dir = wanted->wal_dir;
    options.listeners.push_back(managed->listener);
    if (wanted->manager)
        options.sst_file_manager.reset(rocksdb::NewSstFileManager(options.env));
    if (Result(rocksdb::DB::Open(options, path, &db)) != MANAGED_OK)
        return nullptr;
    managed->db.reset(db);
    return managed.release();
}

void managed_close(struct managed *managed)
{
    delete managed;
}

enum managed_result managed_put(struct managed *managed, uint64_t n)
{
    return Result(managed->db->Put(rocksdb::WriteOptions(), Key(n), Value(n)));
}

enum managed_result managed_flush(struct managed *managed)
{
    return Result(managed->db->Flush(rocksdb::FlushOptions()));
}

bool managed_wait(struct managed *managed)
{
    return managed->listener->Wait();
}

bool managed_holds(struct managed *managed, uint64_t n)
{
    const std::unique_ptr<rocksdb::Iterator> it(managed->db->NewIterator(rocksdb::ReadOptions()));
    uint64_t found = 0;

    for (it->SeekToFirst(); it->Valid(); it->Next()) {
        found++;
        if (it->key() != Key(found) || it->value() != Value(found))
            return false;
    }
    return Result(it->status()) == MANAGED_OK && found == n;
}
