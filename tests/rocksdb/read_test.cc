/* read_test: reads of files that are mapped, with and without a copy. */
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <rocksdb/convenience.h>
#include <rocksdb/file_system.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rocksdb_env/nvmmio_rocksdb.h"

namespace
{

using rocksdb::FileOptions;
using rocksdb::IOOptions;
using rocksdb::Slice;

constexpr size_t kBytes = 100000;

/* A file in memory, and readers of it.  Made in the process that uses it: streams are not a
 * child's. */
class Fixture
{
  public:
    Fixture()
    {
        char name[] = "/dev/shm/nvmmio-read-XXXXXX";
        rocksdb::ConfigOptions strict;
        std::unique_ptr<rocksdb::FSWritableFile> file;

        nvmmio_rocksdb_register();
        strict.ignore_unsupported_options = false;
        if (mkdtemp(name))
            directory_ = name;
        for (size_t i = 0; i < kBytes; i++)
            content_ += static_cast<char>(i * 7 + i / 251);
        good_ = rocksdb::FileSystem::CreateFromString(strict, "nvmmio://", &file_system_).ok() &&
                file_system_->NewWritableFile(Path(), FileOptions(), &file, nullptr).ok() &&
                file->Append(content_, IOOptions(), nullptr).ok() &&
                file->Close(IOOptions(), nullptr).ok();
    }

    ~Fixture()
    {
        Unlink();
    }

    void Unlink() const
    {
        (void)unlink(Path().c_str());
        (void)rmdir(directory_.c_str());
    }

    std::unique_ptr<rocksdb::FSRandomAccessFile> Open(bool mapped) const
    {
        std::unique_ptr<rocksdb::FSRandomAccessFile> file;
        FileOptions options;

        options.use_mmap_reads = mapped;
        if (!good_ || !file_system_->NewRandomAccessFile(Path(), options, &file, nullptr).ok())
            return nullptr;
        return file;
    }

    const std::string &Content() const
    {
        return content_;
    }

  private:
    std::string Path() const
    {
        return directory_ + "/000007.sst";
    }

    std::string directory_, content_;
    std::shared_ptr<rocksdb::FileSystem> file_system_;
    bool good_ = false;
};

bool ReadIsRight(const Fixture &fixture, const rocksdb::FSRandomAccessFile &file, uint64_t offset,
                 size_t bytes, bool mapped)
{
    static char scratch[kBytes];
    const Slice content = fixture.Content();
    Slice result;

    if (!file.Read(offset, bytes, IOOptions(), &result, scratch, nullptr).ok())
        return false;
    const size_t there = offset < kBytes ? std::min(bytes, kBytes - offset) : 0;
    if (there > 0 && (result.data() != scratch) != mapped)
        return false;
    return result == Slice(content.data() + std::min<uint64_t>(offset, kBytes), there);
}

TEST(Read, IsWhatWasWrittenAndEndsWhereItEnds)
{
    const Fixture fixture;

    for (const bool mapped : {false, true}) {
        const auto file = fixture.Open(mapped);

        ASSERT_TRUE(file);
        for (const uint64_t offset : {0, 1, 4095, 4096, 65536, 99999, 100000, 100001, 5000000})
            for (const size_t bytes : {0, 1, 511, 4096, 5000, 100000})
                EXPECT_TRUE(ReadIsRight(fixture, *file, offset, bytes, mapped))
                    << bytes << " bytes at " << offset << (mapped ? ", mapped" : "");
    }
}

/* In a child.  In strict mode there are read, write and exit; any other call is a SIGKILL. */
void ReadInStrictMode(bool mapped, int out)
{
    const Fixture fixture;
    const auto file = fixture.Open(mapped);
    bool right = file != nullptr;

    fixture.Unlink();
    /* The first read may have to make a map. */
    right = right && ReadIsRight(fixture, *file, 0, 16, mapped);
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    for (uint64_t offset = 0; right && offset + 5000 < kBytes; offset += 5000)
        right = ReadIsRight(fixture, *file, offset, 5000, mapped);
    (void)!write(out, right ? "r" : "w", 1);
    (void)syscall(SYS_exit, 0);
}

TEST(Read, MakesNoSystemCall)
{
    for (const bool mapped : {false, true}) {
        char said = 0;
        int pipes[2];

        ASSERT_EQ(pipe(pipes), 0);
        const pid_t child = fork();
        if (child == 0)
            ReadInStrictMode(mapped, pipes[1]);
        (void)close(pipes[1]);
        (void)!read(pipes[0], &said, 1);
        (void)close(pipes[0]);
        EXPECT_EQ(waitpid(child, nullptr, 0), child);
        EXPECT_EQ(said, 'r') << (mapped ? "mapped" : "copied");
    }
}

} // namespace
