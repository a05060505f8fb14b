#include "rocksdb_env/file_system.h"

#include <cerrno>
#include <utility>
#include <vector>

#include "rocksdb_env/files.h"
#include "rocksdb_env/status.h"

namespace nv
{

using rocksdb::FileOptions;
using rocksdb::FileSystemWrapper;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace
{

class FileSystem : public FileSystemWrapper
{
  public:
    explicit FileSystem(const Settings &settings)
        : FileSystemWrapper(rocksdb::FileSystem::Default()), settings_(settings)
    {
    }

    const char *Name() const override
    {
        return "nvmmio";
    }

    std::string GetId() const override
    {
        return settings_.Canonical();
    }

    /* ---- Writing ---- */

    IOStatus NewWritableFile(const std::string &path, const FileOptions &options,
                             std::unique_ptr<rocksdb::FSWritableFile> *file,
                             IODebugContext *debug) override
    {
        if (!WritesStream(path, options))
            return target()->NewWritableFile(path, options, file, debug);
        return OpenForWriting(path, path, NVMMIO_CREATE | NVMMIO_STREAM_EMPTY, file);
    }

    IOStatus ReopenWritableFile(const std::string &path, const FileOptions &options,
                                std::unique_ptr<rocksdb::FSWritableFile> *file,
                                IODebugContext *debug) override
    {
        if (!WritesStream(path, options)) {
            const IOStatus status = MakeExact(path);

            return status.ok() ? target()->ReopenWritableFile(path, options, file, debug) : status;
        }
        return OpenForWriting(path, path, NVMMIO_CREATE, file);
    }

    IOStatus ReuseWritableFile(const std::string &path, const std::string &old_path,
                               const FileOptions &options,
                               std::unique_ptr<rocksdb::FSWritableFile> *file,
                               IODebugContext *debug) override
    {
        if (!WritesStream(path, options)) {
            IOStatus status = MakeExact(old_path);

            return status.ok() ? target()->ReuseWritableFile(path, old_path, options, file, debug)
                               : status;
        }

        IOStatus status = OpenForWriting(old_path, path, NVMMIO_STREAM_REUSE, file);
        if (status.ok())
            status = target()->RenameFile(old_path, path, options.io_options, debug);
        if (!status.ok())
            file->reset();
        return status;
    }

    IOStatus NewRandomRWFile(const std::string &path, const FileOptions &options,
                             std::unique_ptr<rocksdb::FSRandomRWFile> *file,
                             IODebugContext *debug) override
    {
        const IOStatus status = MakeExact(path);

        return status.ok() ? target()->NewRandomRWFile(path, options, file, debug) : status;
    }

    IOStatus
    NewMemoryMappedFileBuffer(const std::string &path,
                              std::unique_ptr<rocksdb::MemoryMappedFileBuffer> *buffer) override
    {
        const IOStatus status = MakeExact(path);

        return status.ok() ? target()->NewMemoryMappedFileBuffer(path, buffer) : status;
    }

    IOStatus Truncate(const std::string &path, size_t bytes, const IOOptions &options,
                      IODebugContext *debug) override
    {
        Stream stream;

        if (!MayBeStream(path))
            return target()->Truncate(path, bytes, options, debug);
        IOStatus status = OpenStream(path, OptionsFor(path, 0), &stream);
        return status.ok() ? StatusOf(nvmmio_stream_truncate(stream.get(), bytes), "truncate", path)
                           : status;
    }

    /* ---- Reading ---- */

    IOStatus NewSequentialFile(const std::string &path, const FileOptions &options,
                               std::unique_ptr<rocksdb::FSSequentialFile> *file,
                               IODebugContext *debug) override
    {
        Stream stream;

        if (!MayBeStream(path) || options.use_direct_reads)
            return target()->NewSequentialFile(path, options, file, debug);
        file->reset();
        IOStatus status = OpenStream(path, OptionsFor(path, NVMMIO_READ_ONLY), &stream);
        if (status.ok())
            *file = NewSequential(path, std::move(stream));
        return status;
    }

    /* Where there is no mapping, posix has the better ways: readahead, io_uring. */
    IOStatus NewRandomAccessFile(const std::string &path, const FileOptions &options,
                                 std::unique_ptr<rocksdb::FSRandomAccessFile> *file,
                                 IODebugContext *debug) override
    {
        Stream stream;

        file->reset();
        if (MayBeStream(path) && !options.use_direct_reads) {
            IOStatus status = OpenStream(path, OptionsFor(path, NVMMIO_READ_ONLY), &stream);

            if (!status.ok())
                return status;
            if (KindOf(path) == kWal || IsMapped(stream.get())) {
                *file = NewRandomAccess(path, std::move(stream), options.use_mmap_reads, target_);
                return status;
            }
        }
        return target()->NewRandomAccessFile(path, options, file, debug);
    }

    /* ---- Sizes ---- */

    IOStatus GetFileSize(const std::string &path, const IOOptions &options, uint64_t *bytes,
                         IODebugContext *debug) override
    {
        if (!MayBeStream(path))
            return target()->GetFileSize(path, options, bytes, debug);
        *bytes = 0;
        return StatusOf(nvmmio_stream_stat(path.c_str(), bytes), "size", path);
    }

    /* The wrapper would ask posix for the sizes. */
    IOStatus GetChildrenFileAttributes(const std::string &dir, const IOOptions &options,
                                       std::vector<rocksdb::FileAttributes> *result,
                                       IODebugContext *debug) override
    {
        /* NOLINTNEXTLINE(bugprone-parent-virtual-call) */
        return rocksdb::FileSystem::GetChildrenFileAttributes(dir, options, result, debug);
    }

  private:
    /* Whether this, or a database that was opened with other options, may have written it as one.
     */
    bool MayBeStream(const std::string &path) const
    {
        return ((settings_.streams | kWal | kSst | kBlob) & KindOf(path)) != 0;
    }

    bool WritesStream(const std::string &path, const FileOptions &options) const
    {
        return (settings_.streams & KindOf(path)) != 0 && !options.use_direct_writes;
    }

    nvmmio_stream_options OptionsFor(const std::string &path, uint32_t flags) const
    {
        nvmmio_stream_options options = {};

        options.struct_bytes = sizeof options;
        options.mode = 0644;
        options.flags = flags;
        options.medium = settings_.medium;
        /* What is synced once needs no space ahead, which costs memory that is written twice. */
        options.size = KindOf(path) == kWal ? settings_.wal_size : NVMMIO_SIZE_EXACT;
        return options;
    }

    IOStatus OpenForWriting(const std::string &path, const std::string &name, uint32_t flags,
                            std::unique_ptr<rocksdb::FSWritableFile> *file) const
    {
        Stream stream;

        file->reset();
        IOStatus status = OpenStream(path, OptionsFor(path, flags), &stream);
        if (status.ok())
            *file = NewWritable(name, std::move(stream));
        return status;
    }

    /* Before posix gets a file that may be a stream which a crash left longer than it is. */
    IOStatus MakeExact(const std::string &path) const
    {
        if (!MayBeStream(path))
            return IOStatus::OK();

        const int result = nvmmio_stream_recover(path.c_str());
        /* A file that is not there, or not to be opened, is posix's to complain of. */
        return result >= 0 || result == -ENOENT || result == -EACCES
                   ? IOStatus::OK()
                   : StatusOf(result, "recover", path);
    }

    const Settings settings_;
};

} // namespace

rocksdb::Status NewFileSystem(const std::string &uri, std::unique_ptr<rocksdb::FileSystem> *made)
{
    Settings settings;
    rocksdb::Status status = ReadSettings(uri, &settings);

    if (status.ok())
        *made = std::make_unique<FileSystem>(settings);
    return status;
}

} // namespace nv
