/*
 * record: lives a life of a database on nvmmio, and prints what RocksDB asked of
 * its FileSystem, for power_test.
 *
 *     record plain|recycled DIR > tests/rocksdb/power/plain.trace
 *
 * DIR is made for it, and removed.  Two records differ where RocksDB's do: in
 * the database's identity, and in when its threads get their turn.
 */
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <unordered_map>

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/sst_file_writer.h>

#include "rocksdb_env/nvmmio_rocksdb.h"
#include "tests/rocksdb/power/call.h"
#include "tests/rocksdb/power/life.h"

namespace
{

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

/* Held over each call, so that they are recorded in the order in which they were done. */
std::mutex mutex;
std::string directory;
bool recording = true;

void Record(const Call &call)
{
    if (recording)
        puts(Print(call).c_str());
}

void Check(const rocksdb::Status &status, const char *what)
{
    if (status.ok())
        return;
    fprintf(stderr, "record: %s: %s\n", what, status.ToString().c_str());
    exit(1);
}

std::string NameIn(const std::string &path)
{
    return path.substr(directory.size() + 1);
}

/* What is not for durability's sake is left out: the text of what went on, and the lock. */
bool Matters(const std::string &path)
{
    return path.rfind(directory + "/", 0) == 0 && NameIn(path).rfind("LO", 0) != 0;
}

class File : public rocksdb::FSWritableFileOwnerWrapper
{
  public:
    File(std::unique_ptr<rocksdb::FSWritableFile> &&file, uint32_t number)
        : FSWritableFileOwnerWrapper(std::move(file)), number_(number)
    {
    }
    ~File() override
    {
        const std::lock_guard<std::mutex> guard(mutex);

        Record(Call(Verb::kDrop, number_));
    }

    IOStatus Append(const Slice &data, const IOOptions &options, IODebugContext *debug) override
    {
        Call call(Verb::kAppend, number_);

        call.data = data.ToString();
        return Recorded(call, [&] { return target()->Append(data, options, debug); });
    }
    IOStatus Append(const Slice &data, const IOOptions &options,
                    const rocksdb::DataVerificationInfo &, IODebugContext *debug) override
    {
        return Append(data, options, debug);
    }
    IOStatus Sync(const IOOptions &options, IODebugContext *debug) override
    {
        return Recorded(Call(Verb::kSync, number_), [&] { return target()->Sync(options, debug); });
    }
    IOStatus Fsync(const IOOptions &options, IODebugContext *debug) override
    {
        return Recorded(Call(Verb::kFsync, number_),
                        [&] { return target()->Fsync(options, debug); });
    }
    IOStatus Truncate(uint64_t bytes, const IOOptions &options, IODebugContext *debug) override
    {
        Call call(Verb::kTruncate, number_);

        call.number = bytes;
        return Recorded(call, [&] { return target()->Truncate(bytes, options, debug); });
    }
    IOStatus Close(const IOOptions &options, IODebugContext *debug) override
    {
        return Recorded(Call(Verb::kClose, number_),
                        [&] { return target()->Close(options, debug); });
    }
    IOStatus RangeSync(uint64_t offset, uint64_t bytes, const IOOptions &options,
                       IODebugContext *debug) override
    {
        Call call(Verb::kRange, number_);

        call.number = offset;
        call.bytes = bytes;
        return Recorded(call, [&] { return target()->RangeSync(offset, bytes, options, debug); });
    }
    void SetPreallocationBlockSize(size_t bytes) override
    {
        Call call(Verb::kBlock, number_);

        call.number = bytes;
        (void)Recorded(call, [&] {
            target()->SetPreallocationBlockSize(bytes);
            return IOStatus::OK();
        });
    }
    void PrepareWrite(size_t offset, size_t bytes, const IOOptions &options,
                      IODebugContext *debug) override
    {
        Call call(Verb::kPrepare, number_);

        call.number = offset;
        call.bytes = bytes;
        (void)Recorded(call, [&] {
            target()->PrepareWrite(offset, bytes, options, debug);
            return IOStatus::OK();
        });
    }

  private:
    template <typename Do> static IOStatus Recorded(const Call &call, Do &&act)
    {
        const std::lock_guard<std::mutex> guard(mutex);

        Record(call);
        return act();
    }

    const uint32_t number_;
};

class Directory : public rocksdb::FSDirectoryWrapper
{
  public:
    using FSDirectoryWrapper::FSDirectoryWrapper;

    IOStatus Fsync(const IOOptions &options, IODebugContext *debug) override
    {
        const std::lock_guard<std::mutex> guard(mutex);

        Record(Call(Verb::kSyncDirectory));
        return FSDirectoryWrapper::Fsync(options, debug);
    }
    IOStatus FsyncWithDirOptions(const IOOptions &options, IODebugContext *debug,
                                 const rocksdb::DirFsyncOptions &why) override
    {
        const std::lock_guard<std::mutex> guard(mutex);

        Record(Call(Verb::kSyncDirectory));
        return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, why);
    }
};

class FileSystem : public rocksdb::FileSystemWrapper
{
  public:
    using FileSystemWrapper::FileSystemWrapper;

    const char *Name() const override
    {
        return "record";
    }

    IOStatus NewWritableFile(const std::string &path, const FileOptions &options,
                             std::unique_ptr<rocksdb::FSWritableFile> *file,
                             IODebugContext *debug) override
    {
        return Open(Call(Verb::kNew), path, file,
                    [&] { return target()->NewWritableFile(path, options, file, debug); });
    }
    IOStatus ReopenWritableFile(const std::string &path, const FileOptions &options,
                                std::unique_ptr<rocksdb::FSWritableFile> *file,
                                IODebugContext *debug) override
    {
        return Open(Call(Verb::kReopen), path, file,
                    [&] { return target()->ReopenWritableFile(path, options, file, debug); });
    }
    IOStatus ReuseWritableFile(const std::string &path, const std::string &old_path,
                               const FileOptions &options,
                               std::unique_ptr<rocksdb::FSWritableFile> *file,
                               IODebugContext *debug) override
    {
        Call call(Verb::kReuse);

        call.other = NameIn(old_path);
        return Open(call, path, file, [&] {
            return target()->ReuseWritableFile(path, old_path, options, file, debug);
        });
    }
    IOStatus NewRandomRWFile(const std::string &path, const FileOptions &,
                             std::unique_ptr<rocksdb::FSRandomRWFile> *, IODebugContext *) override
    {
        return IOStatus::NotSupported("this is not recorded", path);
    }
    IOStatus NewDirectory(const std::string &path, const IOOptions &options,
                          std::unique_ptr<rocksdb::FSDirectory> *result,
                          IODebugContext *debug) override
    {
        IOStatus status = target()->NewDirectory(path, options, result, debug);

        if (status.ok() && path == directory)
            *result = std::make_unique<Directory>(std::move(*result));
        return status;
    }
    IOStatus RenameFile(const std::string &from, const std::string &to, const IOOptions &options,
                        IODebugContext *debug) override
    {
        return Named(Verb::kRename, to, from,
                     [&] { return target()->RenameFile(from, to, options, debug); });
    }
    IOStatus LinkFile(const std::string &from, const std::string &to, const IOOptions &options,
                      IODebugContext *debug) override
    {
        return Named(Verb::kLink, to, from,
                     [&] { return target()->LinkFile(from, to, options, debug); });
    }
    IOStatus DeleteFile(const std::string &path, const IOOptions &options,
                        IODebugContext *debug) override
    {
        return Named(Verb::kDelete, path, "",
                     [&] { return target()->DeleteFile(path, options, debug); });
    }
    IOStatus Truncate(const std::string &path, size_t bytes, const IOOptions &options,
                      IODebugContext *debug) override
    {
        const std::lock_guard<std::mutex> guard(mutex);
        Call call(Verb::kCut);

        call.name = NameIn(path);
        call.number = bytes;
        Record(call);
        return target()->Truncate(path, bytes, options, debug);
    }

  private:
    template <typename Do>
    IOStatus Open(Call call, const std::string &path,
                  std::unique_ptr<rocksdb::FSWritableFile> *file, Do &&act)
    {
        const std::lock_guard<std::mutex> guard(mutex);
        IOStatus status = act();

        if (!status.ok() || !Matters(path))
            return status;
        call.file = ++files_;
        call.name = NameIn(path);
        Record(call);
        *file = std::make_unique<File>(std::move(*file), call.file);
        return status;
    }

    template <typename Do>
    IOStatus Named(Verb verb, const std::string &name, const std::string &other, Do &&act)
    {
        const std::lock_guard<std::mutex> guard(mutex);
        IOStatus status = act();

        if (status.ok() && Matters(name)) {
            Call call(verb);
            call.name = NameIn(name);
            call.other = other.empty() ? "" : NameIn(other);
            Record(call);
        }
        return status;
    }

    uint32_t files_ = 0;
};

/* ---- the life ------------------------------------------------------------------------------ */

class Life
{
  public:
    Life(Kind kind, rocksdb::Env *env) : options_(LifeOptions(kind))
    {
        options_.env = env;
    }

    void Open()
    {
        rocksdb::DB *db = nullptr;

        Check(rocksdb::DB::Open(options_, directory, &db), "open");
        db_.reset(db);
    }

    void Close()
    {
        Check(db_->Close(), "close");
        db_.reset();
    }

    void Put(unsigned operations)
    {
        for (unsigned i = 0; i < operations; i++) {
            rocksdb::WriteOptions how;
            rocksdb::WriteBatch batch;

            how.sync = (done_ + 1) % 3 != 0;
            Begin(how.sync);
            for (const auto &[key, value] : Puts(done_ + 1))
                Check(batch.Put(key, value), "batch");
            Check(db_->Write(how, &batch), "write");
            End();
        }
    }

    /* The table is made in the directory, and gets its name in the database by a link. */
    void Ingest()
    {
        const std::string path = directory + "/ingested.sst";
        rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options_);
        rocksdb::IngestExternalFileOptions how;

        Begin(true);
        Check(writer.Open(path), "table");
        for (const auto &[key, value] : Puts(done_ + 1))
            Check(writer.Put(key, value), "table");
        Check(writer.Finish(), "table");
        how.move_files = true;
        Check(db_->IngestExternalFile({path}, how), "ingest");
        End();
    }

    void Flush()
    {
        Check(db_->Flush(rocksdb::FlushOptions()), "flush");
    }

    void Compact()
    {
        Check(db_->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr), "compact");
    }

    void SyncWal()
    {
        Check(db_->SyncWAL(), "sync");
    }

  private:
    void Begin(bool synced) const
    {
        const std::lock_guard<std::mutex> guard(mutex);
        Call call(Verb::kBegin);

        call.number = done_ + 1;
        call.synced = synced;
        Record(call);
    }

    void End()
    {
        const std::lock_guard<std::mutex> guard(mutex);
        Call call(Verb::kEnd);

        call.number = ++done_;
        Record(call);
    }

    rocksdb::Options options_;
    std::unique_ptr<rocksdb::DB> db_;
    uint64_t done_ = 0;
};

void Plain(Life *life)
{
    life->Open();
    life->Put(14);
    life->Flush();
    life->Put(10);
    life->Ingest();
    life->Put(4);
    life->SyncWal();
    life->Put(4);
    life->Close();
    life->Open(); /* what is in the WAL becomes a table */
    life->Put(5);
    life->Flush();
    life->Compact();
    life->Put(4);
    life->Close();
}

void Recycled(Life *life)
{
    life->Open();
    for (unsigned i = 0; i < 4; i++) {
        life->Put(10 - 2 * i);
        life->Flush();
    }
    life->Put(3);
    life->Close();
    life->Open();
    life->Put(2);
    life->Close();
}

} // namespace

int main(int argc, char **argv)
{
    const std::string kind = argc == 3 ? argv[1] : "";

    if (kind != "plain" && kind != "recycled") {
        fprintf(stderr, "usage: record plain|recycled DIR\n");
        return 2;
    }
    directory = argv[2];

    rocksdb::ConfigOptions strict;
    std::shared_ptr<rocksdb::FileSystem> nvmmio;
    nvmmio_rocksdb_register();
    strict.ignore_unsupported_options = false;
    Check(rocksdb::FileSystem::CreateFromString(strict, "nvmmio://", &nvmmio), "nvmmio://");
    const auto env = rocksdb::NewCompositeEnv(std::make_shared<FileSystem>(nvmmio));

    printf("# tests/rocksdb/power/record.cc made this: %s\n", kind.c_str());
    {
        Life life(kind == "plain" ? Kind::kPlain : Kind::kRecycled, env.get());
        if (kind == "plain")
            Plain(&life);
        else
            Recycled(&life);
    }
    recording = false;
    Check(rocksdb::DestroyDB(directory, rocksdb::Options()), "remove");
    return fflush(stdout) == 0 ? 0 : 1;
}
