/* settings_test: URIs, names of files, and errors in RocksDB's words. */
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/utilities/object_registry.h>

#include "rocksdb_env/settings.h"
#include "rocksdb_env/status.h"

/* As the table of built-in plug-ins has it, which RocksDB's build makes. */
extern "C" int nvmmio_rocksdb_plugin(rocksdb::ObjectLibrary &, const std::string &);

namespace
{

using nv::ReadSettings;
using nv::Settings;
using rocksdb::ConfigOptions;
using rocksdb::Env;
using rocksdb::FileSystem;
using rocksdb::IOStatus;
using rocksdb::Status;

TEST(Settings, DefaultsComeFromEveryWayToNameNone)
{
    for (const char *uri : {"nvmmio", "nvmmio://"}) {
        Settings settings;

        ASSERT_TRUE(ReadSettings(uri, &settings).ok()) << uri;
        EXPECT_EQ(settings.medium, NVMMIO_MEDIUM_AUTO);
        EXPECT_EQ(settings.streams, nv::kWal | nv::kSst | nv::kBlob);
        EXPECT_EQ(settings.wal_size, NVMMIO_SIZE_AUTO);
    }
}

TEST(Settings, OptionsAreTaken)
{
    Settings settings;

    ASSERT_TRUE(
        ReadSettings("nvmmio://?medium=page&streams=wal,blob&wal_size=ahead", &settings).ok());
    EXPECT_EQ(settings.medium, NVMMIO_MEDIUM_PAGE);
    EXPECT_EQ(settings.streams, nv::kWal | nv::kBlob);
    EXPECT_EQ(settings.wal_size, NVMMIO_SIZE_AHEAD);
    ASSERT_TRUE(ReadSettings("nvmmio://?medium=r%61m&streams=none", &settings).ok());
    EXPECT_EQ(settings.medium, NVMMIO_MEDIUM_RAM);
    EXPECT_EQ(settings.streams, 0U);
}

TEST(Settings, TheCanonicalUriMeansTheSame)
{
    for (const char *uri :
         {"nvmmio", "nvmmio://?streams=sst,wal&medium=ram", "nvmmio://?streams=none",
          "nvmmio://?streams=other,wal", "nvmmio://?wal_size=exact&streams=blob"}) {
        Settings first;
        Settings second;

        ASSERT_TRUE(ReadSettings(uri, &first).ok()) << uri;
        ASSERT_TRUE(ReadSettings(first.Canonical(), &second).ok()) << first.Canonical();
        EXPECT_EQ(first.Canonical(), second.Canonical());
        EXPECT_EQ(first.streams, second.streams);
        EXPECT_EQ(first.medium, second.medium);
        EXPECT_EQ(first.wal_size, second.wal_size);
    }
}

/* What is wrong, and the part of the message that must name it. */
struct BadUri {
    const char *uri;
    const char *named;
};

constexpr BadUri kBad[] = {
    {"nvmmio://?color=red", "'color'"},
    {"nvmmio://?medium=tape", "medium=tape"},
    {"nvmmio://?medium", "'medium'"},
    {"nvmmio://?medium=ram&", "''"},
    {"nvmmio://?", "''"},
    {"nvmmio://tmp/db", "comes nothing"},
    {"nvmmio://?streams=wal,", "streams="},
    {"nvmmio://?streams=manifest", "manifest"},
    {"nvmmio://?medium=%zz", "%zz"},
    {"nvmmio://?medium=ram%0", "ram%0"},
    {"nvmmio:/x", "nvmmio://"},
    {"nvmmio://?wal_size=1M", "wal_size=1M"},
    {"nvmmio://?medium=dax&medium=", "medium="},
};

TEST(Settings, BadUrisAreErrorsThatNameWhatIsWrong)
{
    for (const BadUri &bad : kBad) {
        Settings settings;
        const Status status = ReadSettings(bad.uri, &settings);

        EXPECT_TRUE(status.IsInvalidArgument()) << bad.uri;
        EXPECT_NE(status.ToString().find(bad.named), std::string::npos)
            << bad.uri << ": " << status.ToString();
    }
}

TEST(Settings, TheEnvironmentGivesWhatTheUriDoesNot)
{
    Settings settings;

    setenv("NVMMIO_MEDIUM", "ram", 1);
    EXPECT_TRUE(ReadSettings("nvmmio://", &settings).ok());
    EXPECT_EQ(settings.medium, NVMMIO_MEDIUM_RAM);
    EXPECT_TRUE(ReadSettings("nvmmio://?medium=page", &settings).ok());
    EXPECT_EQ(settings.medium, NVMMIO_MEDIUM_PAGE);
    setenv("NVMMIO_MEDIUM", "tape", 1);
    EXPECT_TRUE(ReadSettings("nvmmio://", &settings).IsInvalidArgument());
    unsetenv("NVMMIO_MEDIUM");
}

TEST(Settings, FilesAreKnownByTheirNames)
{
    EXPECT_EQ(nv::KindOf("/db/000012.log"), nv::kWal);
    EXPECT_EQ(nv::KindOf("/db/archive/000012.log"), nv::kWal);
    EXPECT_EQ(nv::KindOf("/db/000012.sst"), nv::kSst);
    EXPECT_EQ(nv::KindOf("/db/000012.blob"), nv::kBlob);
    for (const char *other :
         {"/db/LOG", "/db/MANIFEST-000001", "/db/CURRENT", "/db/LOCK", "/db/OPTIONS-000005",
          "/db/000003.dbtmp", "/db.log/CURRENT", "/db/LOG.old.1234", "/db/IDENTITY", "LOG"})
        EXPECT_EQ(nv::KindOf(other), nv::kPosix) << other;
    for (const char *other : {"/db/f", "log", "/shared/000012_77.sst.tmp", "/LOCKED/x", ""})
        EXPECT_EQ(nv::KindOf(other), nv::kOther) << other;
}

TEST(Registry, FileSystemsAndEnvsComeByUri)
{
    ConfigOptions strict;
    std::shared_ptr<FileSystem> file_system;
    std::shared_ptr<Env> guard;
    Env *env = nullptr;
    Env *same = nullptr;

    strict.ignore_unsupported_options = false;
    ASSERT_TRUE(FileSystem::CreateFromString(strict, "nvmmio://?medium=ram", &file_system).ok());
    EXPECT_STREQ(file_system->Name(), "nvmmio");
    ASSERT_TRUE(
        FileSystem::CreateFromString(strict, "{id=nvmmio://?medium=ram}", &file_system).ok());
    EXPECT_STREQ(file_system->Name(), "nvmmio");
    ASSERT_TRUE(Env::CreateFromUri(strict, "nvmmio://", "", &env, &guard).ok());
    EXPECT_STREQ(env->GetFileSystem()->Name(), "nvmmio");
    /* Options that hold it may outlive whoever asked: there is one of it, for good. */
    ASSERT_TRUE(Env::CreateFromUri(strict, "id=nvmmio://?medium=auto", "", &same, &guard).ok());
    EXPECT_EQ(env, same);
    ASSERT_TRUE(Env::CreateFromUri(strict, "id=nvmmio://?medium=ram", "", &same, &guard).ok());
    EXPECT_NE(env, same);
    /* RocksDB takes this for an option of the Env that it has; at least it says so. */
    EXPECT_FALSE(Env::CreateFromUri(strict, "nvmmio://?medium=ram", "", &same, &guard).ok());
}

/* With RocksDB's lenient defaults: what it does not know, it may ignore; what we know is wrong,
 * not. */
TEST(Registry, BadUrisAreNeverPosix)
{
    for (const BadUri &bad : kBad) {
        std::shared_ptr<FileSystem> file_system;
        std::shared_ptr<Env> guard;
        Env *env = nullptr;

        if (std::string(bad.uri).compare(0, 9, "nvmmio://") != 0)
            continue;
        EXPECT_FALSE(FileSystem::CreateFromString(ConfigOptions(), bad.uri, &file_system).ok())
            << bad.uri;
        EXPECT_EQ(file_system, nullptr);
        EXPECT_FALSE(Env::CreateFromUri(ConfigOptions(), bad.uri, "", &env, &guard).ok())
            << bad.uri;
    }
}

TEST(Status, ErrorsHaveTheCodeThatRocksDbActsOn)
{
    EXPECT_TRUE(nv::StatusOf(0, "read", "f").ok());

    const IOStatus no_space = nv::StatusOf(-ENOSPC, "append", "f");
    EXPECT_TRUE(no_space.IsNoSpace());
    EXPECT_TRUE(no_space.GetRetryable());
    EXPECT_TRUE(nv::StatusOf(-EDQUOT, "append", "f").IsNoSpace());

    EXPECT_TRUE(nv::StatusOf(-ENOENT, "open", "f").IsPathNotFound());
    EXPECT_TRUE(nv::StatusOf(-EBUSY, "open", "f").IsBusy());
    EXPECT_TRUE(nv::StatusOf(-EOPNOTSUPP, "open", "f").IsNotSupported());

    const IOStatus damage = nv::StatusOf(-EUCLEAN, "read", "f");
    EXPECT_TRUE(damage.IsCorruption());
    EXPECT_FALSE(damage.GetRetryable());

    const IOStatus failure = nv::StatusOf(-EIO, "sync", "path/of/it");
    EXPECT_TRUE(failure.IsIOError());
    EXPECT_FALSE(failure.GetRetryable());
    /* A narrower scope would make RocksDB try again, on a file that is in doubt. */
    EXPECT_EQ(failure.GetScope(), IOStatus::kIOErrorScopeFileSystem);
    EXPECT_NE(failure.ToString().find("path/of/it"), std::string::npos);
}

TEST(Registration, AsABuiltInPlugIn)
{
    rocksdb::ObjectLibrary library("test");

    EXPECT_EQ(nvmmio_rocksdb_plugin(library, ""), 2);
    EXPECT_TRUE(library.FindFactory<FileSystem>("nvmmio://"));
    EXPECT_TRUE(library.FindFactory<Env>("nvmmio://?medium=ram"));
    EXPECT_FALSE(library.FindFactory<FileSystem>("mvmmio://"));
}

} // namespace
