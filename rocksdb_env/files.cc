#include "rocksdb_env/files.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "rocksdb_env/statistics.h"
#include "rocksdb_env/status.h"

namespace nv
{

using rocksdb::FSReadRequest;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace
{

class WritableFile : public rocksdb::FSWritableFile
{
  public:
    WritableFile(std::string path, Stream stream)
        : path_(std::move(path)), stream_(std::move(stream))
    {
    }
    ~WritableFile() override
    {
        if (stream_)
            CountWriter(stream_.get());
    }

    using FSWritableFile::Append;
    IOStatus Append(const Slice &data, const IOOptions &, IODebugContext *) override
    {
        const ssize_t result = nvmmio_stream_append(stream_.get(), data.data(), data.size());

        return result < 0 ? Failed(result, "append") : IOStatus::OK();
    }

    /* RocksDB does this only for direct I/O, which is posix's business. */
    using FSWritableFile::PositionedAppend;
    IOStatus PositionedAppend(const Slice &data, uint64_t offset, const IOOptions &options,
                              IODebugContext *debug) override
    {
        if (offset != GetFileSize(options, debug))
            return IOStatus::NotSupported("a stream is written at its end only", path_);
        return Append(data, options, debug);
    }

    IOStatus Truncate(uint64_t bytes, const IOOptions &, IODebugContext *) override
    {
        return Result(nvmmio_stream_truncate(stream_.get(), bytes), "truncate");
    }

    IOStatus Close(const IOOptions &, IODebugContext *) override
    {
        if (!stream_)
            return IOStatus::OK();
        bytes_ = Size();
        CountWriter(stream_.get());
        return Result(nvmmio_stream_close(stream_.release()), "close");
    }

    /* What Append took is where it has to be. */
    IOStatus Flush(const IOOptions &, IODebugContext *) override
    {
        return IOStatus::OK();
    }

    IOStatus Sync(const IOOptions &, IODebugContext *) override
    {
        return Result(nvmmio_stream_sync(stream_.get()), "sync");
    }

    bool IsSyncThreadSafe() const override
    {
        return true;
    }

    uint64_t GetFileSize(const IOOptions &, IODebugContext *) override
    {
        return stream_ ? Size() : bytes_;
    }

    IOStatus RangeSync(uint64_t offset, uint64_t bytes, const IOOptions &,
                       IODebugContext *) override
    {
        return Result(nvmmio_stream_flush(stream_.get(), offset, bytes), "begin to write back");
    }

    /* Only ever a hint: an append that finds no space says so itself. */
    IOStatus Allocate(uint64_t offset, uint64_t bytes, const IOOptions &, IODebugContext *) override
    {
        return nvmmio_stream_allocate(stream_.get(), offset + bytes) == 0
                   ? IOStatus::OK()
                   : IOStatus::NotSupported("allocate", path_);
    }

    IOStatus InvalidateCache(size_t, size_t) override
    {
        return IOStatus::OK();
    }

  private:
    uint64_t Size() const
    {
        const int64_t bytes = nvmmio_stream_size(stream_.get());

        return bytes < 0 ? 0 : static_cast<uint64_t>(bytes);
    }

    IOStatus Failed(ssize_t error, const char *what) const
    {
        return StatusOf(static_cast<int>(error), what, path_);
    }

    IOStatus Result(int error, const char *what) const
    {
        return error ? Failed(error, what) : IOStatus::OK();
    }

    const std::string path_;
    Stream stream_;
    uint64_t bytes_ = 0; /* when it was closed */
};

class SequentialFile : public rocksdb::FSSequentialFile
{
  public:
    SequentialFile(std::string path, Stream stream)
        : path_(std::move(path)), stream_(std::move(stream))
    {
    }

    IOStatus Read(size_t bytes, const IOOptions &, Slice *result, char *scratch,
                  IODebugContext *) override
    {
        const ssize_t count = nvmmio_stream_pread(stream_.get(), scratch, bytes, offset_);

        *result = Slice(scratch, count < 0 ? 0 : static_cast<size_t>(count));
        if (count < 0)
            return StatusOf(static_cast<int>(count), "read", path_);
        offset_ += static_cast<uint64_t>(count);
        return IOStatus::OK();
    }

    IOStatus Skip(uint64_t bytes) override
    {
        offset_ += bytes;
        return IOStatus::OK();
    }

    IOStatus InvalidateCache(size_t, size_t) override
    {
        return IOStatus::OK();
    }

  private:
    const std::string path_;
    const Stream stream_;
    uint64_t offset_ = 0;
};

class RandomAccessFile : public rocksdb::FSRandomAccessFile
{
  public:
    RandomAccessFile(std::string path, Stream stream, bool no_copy,
                     std::shared_ptr<rocksdb::FileSystem> posix)
        : path_(std::move(path)), stream_(std::move(stream)), no_copy_(no_copy),
          posix_(std::move(posix))
    {
    }

    IOStatus Read(uint64_t offset, size_t bytes, const IOOptions &, Slice *result, char *scratch,
                  IODebugContext *) const override
    {
        if (no_copy_ && View(offset, bytes, result))
            return IOStatus::OK();
        return Copy(offset, bytes, result, scratch);
    }

    IOStatus MultiRead(FSReadRequest *requests, size_t count, const IOOptions &options,
                       IODebugContext *debug) override
    {
        for (FSReadRequest *r = requests; r != requests + count; r++)
            r->status = Read(r->offset, r->len, options, &r->result, r->scratch, debug);
        return IOStatus::OK();
    }

    /* It is in memory: nothing to wait for, and nothing for RocksDB to buffer by itself. */
    IOStatus Prefetch(uint64_t, size_t, const IOOptions &, IODebugContext *) override
    {
        return IOStatus::OK();
    }

    IOStatus InvalidateCache(size_t, size_t) override
    {
        return IOStatus::OK();
    }

    /* As posix has it, since a cache may be shared with posix. */
    size_t GetUniqueId(char *id, size_t bytes_max) const override
    {
        std::unique_ptr<FSRandomAccessFile> file;
        const IOStatus status =
            posix_->NewRandomAccessFile(path_, rocksdb::FileOptions(), &file, nullptr);

        return status.ok() ? file->GetUniqueId(id, bytes_max) : 0;
    }

  private:
    bool View(uint64_t offset, size_t bytes, Slice *result) const
    {
        const void *address = nullptr;

        /* Asking for the size may be a system call, and few reads reach the end. */
        if (nvmmio_stream_view(stream_.get(), offset, bytes, &address) != 0) {
            const int64_t size = nvmmio_stream_size(stream_.get());

            if (size < 0 || offset >= static_cast<uint64_t>(size))
                return false;
            bytes = std::min(bytes, static_cast<size_t>(static_cast<uint64_t>(size) - offset));
            if (nvmmio_stream_view(stream_.get(), offset, bytes, &address) != 0)
                return false;
        }
        *result = Slice(static_cast<const char *>(address), bytes);
        return true;
    }

    IOStatus Copy(uint64_t offset, size_t bytes, Slice *result, char *scratch) const
    {
        const ssize_t count = nvmmio_stream_pread(stream_.get(), scratch, bytes, offset);

        *result = Slice(scratch, count < 0 ? 0 : static_cast<size_t>(count));
        return count < 0 ? StatusOf(static_cast<int>(count), "read", path_) : IOStatus::OK();
    }

    const std::string path_;
    const Stream stream_;
    const bool no_copy_;
    const std::shared_ptr<rocksdb::FileSystem> posix_;
};

} // namespace

void CloseStream::operator()(nvmmio_stream *stream) const
{
    /* A failure loses nothing that was synced: the next open does what is left. */
    (void)nvmmio_stream_close(stream);
}

IOStatus OpenStream(const std::string &path, const nvmmio_stream_options &options, Stream *stream)
{
    nvmmio_stream *opened = nullptr;
    const int error = nvmmio_stream_open(path.c_str(), &options, &opened);

    stream->reset(opened);
    return StatusOf(error, "open", path);
}

bool IsMapped(nvmmio_stream *stream)
{
    struct nvmmio_stream_info info = {};

    info.struct_bytes = sizeof info;
    return nvmmio_stream_info(stream, &info) == 0 && info.mapped;
}

std::unique_ptr<rocksdb::FSWritableFile> NewWritable(const std::string &path, Stream stream)
{
    return std::make_unique<WritableFile>(path, std::move(stream));
}

std::unique_ptr<rocksdb::FSSequentialFile> NewSequential(const std::string &path, Stream stream)
{
    CountReader();
    return std::make_unique<SequentialFile>(path, std::move(stream));
}

std::unique_ptr<rocksdb::FSRandomAccessFile>
NewRandomAccess(const std::string &path, Stream stream, bool no_copy,
                std::shared_ptr<rocksdb::FileSystem> posix)
{
    CountReader();
    return std::make_unique<RandomAccessFile>(path, std::move(stream), no_copy, std::move(posix));
}

} // namespace nv
