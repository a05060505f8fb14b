/*
 * replay: a recorded life, done again call by call by the plug-in on a machine;
 * and what a loss of power, or the death of the process, may leave of it at any
 * moment.
 */
#ifndef TESTS_ROCKSDB_POWER_REPLAY_H
#define TESTS_ROCKSDB_POWER_REPLAY_H

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <rocksdb/file_system.h>

#include "tests/rocksdb/power/call.h"
#include "tests/rocksdb/power/machine.h"

/* Of one file: the first `low` bytes of what was appended are there, `high` at most. */
struct Extent {
    uint64_t low = 0, high = 0;
    /* Something was cut off, or overwritten, since the last sync: nothing is said of what is behind
     * `low`.  Of a file that is used again, never. */
    bool cut = false, reused = false;
    std::shared_ptr<std::string> appended;
};

struct Moment {
    std::map<uint32_t, Extent> files;                   /* by their number on the machine */
    std::map<std::string, std::vector<uint32_t>> names; /* what each may be; now it is the last */
    uint64_t begun = 0;                                 /* operations of the life */
    uint64_t ended = 0;
    uint64_t promised = 0; /* these survive a loss of power */
};

/* Whether a call is to be left out, as if the plug-in forgot it; `name` is its file's. */
using LeaveOut = std::function<bool(const Call &call, const std::string &name)>;

/* Where the files of the machine are. */
std::string PathOf(const std::string &name);
bool IsStream(const std::string &name);
bool IsWal(const std::string &name);

class Replay
{
  public:
    /* `instant`: an append to a WAL is durable as it returns. */
    Replay(struct machine *machine, rocksdb::FileSystem *fs, bool instant, LeaveOut leave_out);
    ~Replay();
    Replay(const Replay &) = delete;
    Replay &operator=(const Replay &) = delete;

    void Do(const Call &call);
    /* After machine_kill: what the process had open goes with it. */
    void Die();
    const Moment &At(uint32_t note) const;
    const Moment &Now() const;

  private:
    struct Handle {
        std::unique_ptr<rocksdb::FSWritableFile> file;
        std::string name;
        uint32_t number;
    };

    void Begin();
    void DoFile(const Call &call);
    void Open(const Call &call);
    void Rename(const std::string &from, const std::string &to);
    void Name(const std::string &name, uint32_t file);
    void AllDurable(uint32_t number);
    void Cut(Extent *extent, uint64_t bytes);
    void SyncDirectory();
    void DoName(const Call &call);

    struct machine *const machine_;
    rocksdb::FileSystem *const fs_;
    const bool instant_;
    const LeaveOut leave_out_;
    std::unique_ptr<rocksdb::FSDirectory> directory_;
    std::map<uint32_t, Handle> handles_;
    std::vector<Moment> moments_;
    bool synced_ = false; /* the operation that has begun promises */
};

#endif
