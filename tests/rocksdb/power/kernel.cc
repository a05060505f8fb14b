#include "tests/rocksdb/power/kernel.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>

#include "rocksdb_env/file_system.h"

namespace
{

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

IOStatus StatusOf(int error, const std::string &path)
{
    return error == 0         ? IOStatus::OK()
           : error == -ENOENT ? IOStatus::PathNotFound(path)
                              : IOStatus::IOError(path, strerror(-error));
}

class WritableFile : public rocksdb::FSWritableFile
{
  public:
    WritableFile(struct machine *machine, std::string path)
        : machine_(machine), path_(std::move(path))
    {
    }
    ~WritableFile() override
    {
        if (machine_runs(machine_))
            (void)End();
    }

    int Open(bool empty)
    {
        const struct nv_os *const os = machine_os(machine_);
        struct nv_file_stat stat;
        int error = os->open(os, path_.c_str(), NV_OPEN_WRITE | NV_OPEN_CREATE, 0644, &file_);

        if (!error && empty)
            error = os->truncate(&file_, 0);
        if (!error)
            error = os->stat(&file_, &stat);
        bytes_ = error ? 0 : stat.bytes;
        open_ = !error;
        return error;
    }

    using FSWritableFile::Append;
    IOStatus Append(const Slice &data, const IOOptions &, IODebugContext *) override
    {
        struct iovec part = {const_cast<char *>(data.data()), data.size()};
        const int error = file_.os->pwritev(&file_, &part, 1, bytes_);

        bytes_ += error ? 0 : data.size();
        return StatusOf(error, path_);
    }
    IOStatus Truncate(uint64_t bytes, const IOOptions &, IODebugContext *) override
    {
        bytes_ = bytes;
        return StatusOf(file_.os->truncate(&file_, bytes), path_);
    }
    IOStatus Close(const IOOptions &, IODebugContext *) override
    {
        return StatusOf(End(), path_);
    }
    IOStatus Flush(const IOOptions &, IODebugContext *) override
    {
        return IOStatus::OK();
    }
    IOStatus Sync(const IOOptions &, IODebugContext *) override
    {
        return StatusOf(file_.os->sync_data(&file_), path_);
    }
    uint64_t GetFileSize(const IOOptions &, IODebugContext *) override
    {
        return bytes_;
    }

  private:
    int End()
    {
        const bool was_open = open_;

        open_ = false;
        return was_open ? file_.os->close(&file_) : 0;
    }

    struct machine *const machine_;
    const std::string path_;
    struct nv_file file_ = {};
    uint64_t bytes_ = 0;
    bool open_ = false;
};

class Directory : public rocksdb::FSDirectory
{
  public:
    Directory(struct machine *machine, const std::string &path)
        : machine_(machine), inside_(path + "/.")
    {
    }

    IOStatus Fsync(const IOOptions &, IODebugContext *) override
    {
        const struct nv_os *const os = machine_os(machine_);

        return StatusOf(os->sync_directory(os, inside_.c_str()), inside_);
    }

  private:
    struct machine *const machine_;
    const std::string inside_;
};

/* What is not here is the real one's, and meets no file of that name there. */
class Kernel : public rocksdb::FileSystemWrapper
{
  public:
    Kernel(struct machine *machine, const std::shared_ptr<rocksdb::FileSystem> &real)
        : FileSystemWrapper(real), machine_(machine)
    {
    }

    const char *Name() const override
    {
        return "kernel";
    }
    IOStatus NewWritableFile(const std::string &path, const FileOptions &,
                             std::unique_ptr<rocksdb::FSWritableFile> *file,
                             IODebugContext *) override
    {
        return Open(path, true, file);
    }
    IOStatus ReopenWritableFile(const std::string &path, const FileOptions &,
                                std::unique_ptr<rocksdb::FSWritableFile> *file,
                                IODebugContext *) override
    {
        return Open(path, false, file);
    }
    IOStatus NewDirectory(const std::string &path, const IOOptions &,
                          std::unique_ptr<rocksdb::FSDirectory> *directory,
                          IODebugContext *) override
    {
        *directory = std::make_unique<Directory>(machine_, path);
        return IOStatus::OK();
    }
    IOStatus RenameFile(const std::string &from, const std::string &to, const IOOptions &,
                        IODebugContext *) override
    {
        const struct nv_os *const os = machine_os(machine_);

        return StatusOf(os->rename(os, from.c_str(), to.c_str()), from);
    }
    IOStatus LinkFile(const std::string &from, const std::string &to, const IOOptions &,
                      IODebugContext *) override
    {
        return StatusOf(machine_link(machine_, from.c_str(), to.c_str()), from);
    }
    IOStatus DeleteFile(const std::string &path, const IOOptions &, IODebugContext *) override
    {
        const struct nv_os *const os = machine_os(machine_);

        return StatusOf(os->unlink(os, path.c_str()), path);
    }

  private:
    IOStatus Open(const std::string &path, bool empty,
                  std::unique_ptr<rocksdb::FSWritableFile> *file) const
    {
        auto opened = std::make_unique<WritableFile>(machine_, path);
        const int error = opened->Open(empty);

        if (!error)
            *file = std::move(opened);
        return StatusOf(error, path);
    }

    struct machine *const machine_;
};

using SharedFileSystem = std::shared_ptr<rocksdb::FileSystem>;

/* What the plug-in gets for RocksDB's own; NULL: that. */
SharedFileSystem in_place_of_default;

SharedFileSystem LibrarysDefault()
{
    using Function = SharedFileSystem();
    void *const function = dlsym(RTLD_NEXT, "_ZN7rocksdb10FileSystem7DefaultEv");

    return reinterpret_cast<Function *>(function)();
}

} // namespace

/* A program's own definition goes before its libraries'. */
SharedFileSystem rocksdb::FileSystem::Default()
{
    return in_place_of_default ? in_place_of_default : LibrarysDefault();
}

std::shared_ptr<rocksdb::FileSystem> NewKernel(struct machine *machine)
{
    return std::make_shared<Kernel>(machine, LibrarysDefault());
}

std::unique_ptr<rocksdb::FileSystem> NewNvmmio(const std::string &uri, struct machine *machine)
{
    std::unique_ptr<rocksdb::FileSystem> made;

    in_place_of_default = NewKernel(machine);
    const rocksdb::Status status = nv::NewFileSystem(uri, &made);
    in_place_of_default.reset();
    if (!status.ok()) {
        fprintf(stderr, "%s: %s\n", uri.c_str(), status.ToString().c_str());
        exit(1);
    }
    return made;
}
