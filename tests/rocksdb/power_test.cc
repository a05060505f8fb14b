/*
 * Losses of power and deaths in the life of a database on a simulated machine:
 * what RocksDB asked of its FileSystem in two lives was recorded (power/record.cc),
 * and is done again by the plug-in there.  The power is cut at every event, the
 * process killed between any two calls; files and names are held against what
 * was appended, synced and renamed, and of some RocksDB opens the database.
 *
 * A step that is left out is seen: the last tests.
 *
 *     power_test [--images N] [--deaths N] [--opens N] [--seed S] [gtest's options]
 *
 * N images of what each power cut may leave (4), one of N of which becomes a
 * database that is opened (53); a death before every Nth call (7).
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/rocksdb/power/kernel.h"
#include "tests/rocksdb/power/look.h"
#include "tests/rocksdb/power/replay.h"

namespace
{

uint64_t images = 4, opens = 53, deaths = 7, seed = 1;

struct Place {
    const char *name;
    const char *uri;
    bool dax;
    bool ordered; /* the file system keeps the order of sizes, their data, and names */
};

constexpr Place kDax = {"Dax", "nvmmio://", true, true};
constexpr Place kDaxUnordered = {"DaxUnordered", "nvmmio://", true, false};
constexpr Place kDisk = {"Disk", "nvmmio://", false, true};
constexpr Place kDiskUnordered = {"DiskUnordered", "nvmmio://", false, false};
constexpr Place kDiskAhead = {"DiskAhead", "nvmmio://?wal_size=ahead", false, true};
constexpr Place kDiskAheadUnordered = {"DiskAheadUnordered", "nvmmio://?wal_size=ahead", false,
                                       false};

using Calls = std::vector<Call>;

Calls ReadLife(Kind kind)
{
    const std::string path = std::string("tests/rocksdb/power/") +
                             (kind == Kind::kPlain ? "plain.trace" : "recycled.trace");
    Calls calls;
    std::string error;

    EXPECT_TRUE(ReadCalls(path, &calls, &error)) << error;
    return calls;
}

/* A machine with the plug-in on it. */
class Stage
{
  public:
    Stage(const Place &place, LeaveOut leave_out)
        : machine_(machine_create(place.dax)), fs_(NewNvmmio(place.uri, machine_))
    {
        machine_boot(machine_);
        machine_record(machine_);
        replay_ = std::make_unique<Replay>(machine_, fs_.get(), place.dax, std::move(leave_out));
    }
    ~Stage()
    {
        replay_.reset();
        fs_.reset();
        machine_destroy(machine_);
    }
    Stage(const Stage &) = delete;
    Stage &operator=(const Stage &) = delete;

    struct machine *machine()
    {
        return machine_;
    }
    rocksdb::FileSystem *fs()
    {
        return fs_.get();
    }
    Replay *replay()
    {
        return replay_.get();
    }

  private:
    struct machine *const machine_;
    std::unique_ptr<rocksdb::FileSystem> fs_;
    std::unique_ptr<Replay> replay_;
};

uint64_t Next(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

std::string Directory()
{
    const char *const given = getenv("TEST_TMPDIR");

    return std::string(given ? given : "/dev/shm") + "/power_test";
}

struct Search {
    uint64_t cuts = 0, images = 0, databases = 0;
    std::string problem; /* the first that was found */
};

std::string LookAtImage(Stage *stage, const Place &place, Kind kind, const Moment &moment,
                        uint64_t draw, Search *search)
{
    struct machine *const machine = stage->machine();
    const Crash crash = place.ordered ? Crash::kPower : Crash::kPowerUnordered;
    /* Elsewhere RocksDB may find a damaged MANIFEST, or none, with posix as with us. */
    const bool open = kind == Kind::kPlain && place.ordered && draw % opens == 0;
    std::string problem = LookAtNames(machine, moment, crash);

    /* As RocksDB without the plug-in finds it. */
    if (problem.empty() && open && draw / opens % 2 == 0) {
        search->databases++;
        problem = LookAtDatabase(machine, moment, crash, Directory());
    }
    if (!problem.empty())
        return problem;

    machine_boot(machine);
    problem = LookAtStreams(machine, stage->fs(), moment, crash);
    if (problem.empty() && open && draw / opens % 2 == 1) {
        search->databases++;
        problem = LookAtDatabase(machine, moment, crash, Directory());
    }
    machine_kill(machine);
    return problem;
}

Search CutEverywhere(const Place &place, Kind kind, Stage *stage)
{
    const Calls calls = ReadLife(kind);
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t note = 0;
    Search search;

    for (const Call &call : calls)
        stage->replay()->Do(call);
    machine_kill(stage->machine());
    machine_rewind(stage->machine(), place.ordered);
    while (search.problem.empty() && machine_advance(stage->machine(), &note)) {
        search.cuts++;
        for (uint64_t i = 0; i < images && search.problem.empty(); i++) {
            machine_cut(stage->machine(), Next(&random));
            search.problem = LookAtImage(stage, place, kind, stage->replay()->At(note),
                                         Next(&random) >> 8, &search);
            machine_uncut(stage->machine());
            search.images++;
        }
    }
    machine_end(stage->machine());
    return search;
}

void NothingIsLost(const Place &place, Kind kind)
{
    Stage stage(place, nullptr);
    const Search search = CutEverywhere(place, kind, &stage);

    printf("%llu cuts, %llu images, %llu of them opened, seed %llu\n",
           static_cast<unsigned long long>(search.cuts),
           static_cast<unsigned long long>(search.images),
           static_cast<unsigned long long>(search.databases),
           static_cast<unsigned long long>(seed));
    EXPECT_EQ(search.problem, "") << "cut " << search.cuts << ", --images " << images << " --seed "
                                  << seed;
    EXPECT_GT(search.cuts, 500U);
}

/* Dies before call `end`. */
std::string Kill(const Place &place, Kind kind, size_t end, const LeaveOut &leave_out,
                 bool open = false)
{
    const Calls calls = ReadLife(kind);
    Stage stage(place, leave_out);

    for (size_t i = 0; i < end; i++)
        stage.replay()->Do(calls[i]);
    machine_kill(stage.machine());
    stage.replay()->Die();
    machine_boot(stage.machine());
    const Moment &now = stage.replay()->Now();
    std::string problem = LookAtNames(stage.machine(), now, Crash::kProcess);
    if (problem.empty())
        problem = LookAtStreams(stage.machine(), stage.fs(), now, Crash::kProcess);
    if (problem.empty() && open)
        problem = LookAtDatabase(stage.machine(), now, Crash::kProcess, Directory());
    machine_kill(stage.machine());
    return problem;
}

void KilledEverywhere(const Place &place, Kind kind)
{
    const size_t calls = ReadLife(kind).size();
    uint64_t random = seed;
    uint64_t died = 0, databases = 0;

    for (size_t end = seed % deaths; end <= calls; end += deaths) {
        const bool open = kind == Kind::kPlain && Next(&random) % 8 == 0;

        ASSERT_EQ(Kill(place, kind, end, nullptr, open), "")
            << "killed before call " << end << ", --deaths " << deaths << " --seed " << seed;
        databases += open;
        died++;
    }
    printf("%llu deaths, %llu databases opened\n", static_cast<unsigned long long>(died),
           static_cast<unsigned long long>(databases));
}

/* ---- all is well --------------------------------------------------------------------------- */

using Where = std::tuple<Place, Kind>;

std::string NameOf(const testing::TestParamInfo<Where> &where)
{
    const bool plain = std::get<Kind>(where.param) == Kind::kPlain;

    return std::string(std::get<Place>(where.param).name) + (plain ? "" : "Recycled");
}

const auto kKinds = testing::Values(Kind::kPlain, Kind::kRecycled);

class Power : public testing::TestWithParam<Where>
{
};

TEST_P(Power, NothingIsLost)
{
    NothingIsLost(std::get<Place>(GetParam()), std::get<Kind>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(On, Power,
                         testing::Combine(testing::Values(kDax, kDaxUnordered, kDisk,
                                                          kDiskUnordered, kDiskAhead,
                                                          kDiskAheadUnordered),
                                          kKinds),
                         NameOf);

class Death : public testing::TestWithParam<Where>
{
};

TEST_P(Death, KilledEverywhere)
{
    KilledEverywhere(std::get<Place>(GetParam()), std::get<Kind>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(On, Death,
                         testing::Combine(testing::Values(kDax, kDisk, kDiskAhead), kKinds),
                         NameOf);

/* ---- what is left out is seen -------------------------------------------------------------- */

void IsSeen(const Place &place, const LeaveOut &leave_out, const std::string &problem)
{
    Stage stage(place, leave_out);
    const Search search = CutEverywhere(place, Kind::kPlain, &stage);

    EXPECT_NE(search.problem.find(problem), std::string::npos) << "found: " << search.problem;
}

LeaveOut SyncsOf(const std::string &part)
{
    return [part](const Call &call, const std::string &name) {
        return (call.verb == Verb::kSync || call.verb == Verb::kFsync) &&
               name.find(part) != std::string::npos;
    };
}

TEST(LeftOut, SyncsOfTheWal)
{
    IsSeen(kDisk, SyncsOf(".log"), ".log: bytes are lost");
    IsSeen(kDiskAhead, SyncsOf(".log"), ".log: bytes are lost");
}

TEST(LeftOut, SyncsOfTables)
{
    IsSeen(kDisk, SyncsOf(".sst"), ".sst: bytes are lost");
    IsSeen(kDax, SyncsOf(".sst"), ".sst: bytes are lost");
}

TEST(LeftOut, SyncsOfBlobs)
{
    IsSeen(kDax, SyncsOf(".blob"), ".blob: bytes are lost");
}

TEST(LeftOut, SyncsOfTheManifest)
{
    IsSeen(kDisk, SyncsOf("MANIFEST"), "MANIFEST");
}

TEST(LeftOut, SyncsBehindCurrent)
{
    IsSeen(kDisk, SyncsOf(".dbtmp"), "bytes are lost");
}

TEST(LeftOut, SyncsOfTheDirectory)
{
    const LeaveOut names = [](const Call &call, const std::string &) {
        return call.verb == Verb::kSyncDirectory;
    };

    IsSeen(kDisk, names, "is not there");
    IsSeen(kDax, names, "is not there");
}

void IsSeenWithout(void (*leave_out)(struct machine *))
{
    Stage stage(kDax, nullptr);

    leave_out(stage.machine());
    EXPECT_NE(CutEverywhere(kDax, Kind::kPlain, &stage).problem.find(".log: bytes are lost"),
              std::string::npos);
}

TEST(LeftOut, Fences)
{
    IsSeenWithout(machine_without_fences);
}

TEST(LeftOut, Flushes)
{
    IsSeenWithout(machine_without_flushes);
}

/* Whether `look` finds this, in whatever a cut leaves. */
void IsFound(const Place &place, const LeaveOut &leave_out, const std::string &problem,
             const std::function<std::string(struct machine *, const Moment &)> &look)
{
    const Calls calls = ReadLife(Kind::kPlain);
    Stage stage(place, leave_out);
    uint64_t random = seed;
    uint32_t note = 0;
    bool found = false;

    for (const Call &call : calls)
        stage.replay()->Do(call);
    machine_kill(stage.machine());
    machine_rewind(stage.machine(), place.ordered);
    while (!found && machine_advance(stage.machine(), &note))
        for (unsigned i = 0; i < 100 && !found; i++) {
            machine_cut(stage.machine(), Next(&random));
            found =
                look(stage.machine(), stage.replay()->At(note)).find(problem) != std::string::npos;
            machine_uncut(stage.machine());
        }
    machine_end(stage.machine());
    EXPECT_TRUE(found) << problem;
}

TEST(LeftOut, SyncsOfTheWalInTheDatabase)
{
    IsFound(kDisk, SyncsOf(".log"), "the database is not what operation",
            [](struct machine *machine, const Moment &moment) {
                return moment.promised == 0
                           ? ""
                           : LookAtDatabase(machine, moment, Crash::kPower, Directory());
            });
}

/* What the file systems that keep no order leave is found where it may not be. */
TEST(LeftOut, TheOrderOfTheFileSystem)
{
    const auto strict = [](struct machine *machine, const Moment &moment) {
        return LookAtNames(machine, moment, Crash::kPower);
    };

    IsFound(kDiskUnordered, nullptr, "was not appended", strict);
    IsFound(kDiskUnordered, nullptr, "CURRENT names MANIFEST", strict);
}

/* Of a WAL or a MANIFEST the first, some calls before the process dies. */
TEST(LeftOut, Appends)
{
    for (const char *part : {"000004.log", "MANIFEST-000005"})
        for (const Place &place : {kDax, kDisk, kDiskAhead}) {
            unsigned count = 0;
            const LeaveOut one = [&](const Call &call, const std::string &name) {
                return call.verb == Verb::kAppend && name.find(part) != std::string::npos &&
                       ++count == 1;
            };
            const std::string problem = Kill(place, Kind::kPlain, 60, one);

            EXPECT_NE(problem.find(": bytes are lost"), std::string::npos) << problem;
            EXPECT_NE(problem.find(part), std::string::npos) << problem;
        }
}

/* gtest has taken what is its own. */
bool ReadArguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        uint64_t *const number = strcmp(argv[i], "--images") == 0   ? &images
                                 : strcmp(argv[i], "--opens") == 0  ? &opens
                                 : strcmp(argv[i], "--deaths") == 0 ? &deaths
                                 : strcmp(argv[i], "--seed") == 0   ? &seed
                                                                    : nullptr;
        if (!number || i + 1 == argc || (*number = strtoull(argv[i + 1], nullptr, 10)) == 0)
            return false;
    }
    return true;
}

} // namespace

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    if (!ReadArguments(argc, argv)) {
        fprintf(stderr, "usage: power_test [--images N] [--deaths N] [--opens N] [--seed S]\n");
        return 2;
    }
    return RUN_ALL_TESTS();
}
