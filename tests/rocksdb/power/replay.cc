#include "tests/rocksdb/power/replay.h"

#include <cstdio>
#include <cstdlib>

#include "rocksdb_env/settings.h"

namespace
{

const rocksdb::FileOptions kFileOptions;
const rocksdb::IOOptions kOptions;

void Check(const rocksdb::IOStatus &status, const Call &call)
{
    if (status.ok())
        return;
    fprintf(stderr, "%s: %s\n", Print(call).substr(0, 80).c_str(), status.ToString().c_str());
    exit(1);
}

} // namespace

std::string PathOf(const std::string &name)
{
    return "/d/" + name;
}

bool IsStream(const std::string &name)
{
    return (nv::KindOf(PathOf(name)) & (nv::kWal | nv::kSst | nv::kBlob)) != 0;
}

bool IsWal(const std::string &name)
{
    return nv::KindOf(PathOf(name)) == nv::kWal;
}

Replay::Replay(struct machine *machine, rocksdb::FileSystem *fs, bool instant, LeaveOut leave_out)
    : machine_(machine), fs_(fs), instant_(instant), leave_out_(std::move(leave_out)), moments_(1)
{
    (void)fs_->NewDirectory("/d", kOptions, &directory_, nullptr);
    machine_note(machine_, 0);
}

Replay::~Replay() = default;

const Moment &Replay::At(uint32_t note) const
{
    return moments_[note];
}

const Moment &Replay::Now() const
{
    return moments_.back();
}

void Replay::Die()
{
    handles_.clear();
}

/* Another moment, so far as the one before. */
void Replay::Begin()
{
    moments_.push_back(moments_.back());
    machine_note(machine_, static_cast<uint32_t>(moments_.size() - 1));
}

/* From this moment on it may be that, too. */
void Replay::Name(const std::string &name, uint32_t file)
{
    auto &states = moments_.back().names[name];

    if (states.empty())
        states.push_back(MACHINE_NONE);
    states.push_back(file);
}

void Replay::Rename(const std::string &from, const std::string &to)
{
    Name(to, moments_.back().names[from].back());
    Name(from, MACHINE_NONE);
}

/* From the next moment on. */
void Replay::AllDurable(uint32_t number)
{
    Begin();
    Extent &extent = moments_.back().files[number];
    extent.low = extent.high;
    extent.cut = false;
}

void Replay::Cut(Extent *extent, uint64_t bytes)
{
    if (bytes == extent->high)
        return;
    extent->appended = std::make_shared<std::string>(extent->appended->substr(0, bytes));
    extent->low = std::min(extent->low, bytes);
    extent->high = bytes;
    extent->cut = true;
}

void Replay::Open(const Call &call)
{
    Handle handle;
    const std::string path = PathOf(call.name);

    handle.name = call.name;
    if (call.verb == Verb::kReuse) {
        handle.number = machine_find(machine_, PathOf(call.other).c_str());
        Extent &extent = moments_.back().files[handle.number];
        extent = Extent();
        extent.reused = true;
        extent.appended = std::make_shared<std::string>();
        Rename(call.other, call.name);
        Check(fs_->ReuseWritableFile(path, PathOf(call.other), kFileOptions, &handle.file, nullptr),
              call);
    } else if (call.verb == Verb::kReopen) {
        handle.number = machine_find(machine_, path.c_str());
        Check(fs_->ReopenWritableFile(path, kFileOptions, &handle.file, nullptr), call);
    } else {
        Check(fs_->NewWritableFile(path, kFileOptions, &handle.file, nullptr), call);
        handle.number = machine_find(machine_, path.c_str());
        /* Only now is it known which file this is. */
        moments_.back().files[handle.number].appended = std::make_shared<std::string>();
        Name(call.name, handle.number);
    }
    handles_[call.file] = std::move(handle);
}

void Replay::DoFile(const Call &call)
{
    Handle &handle = handles_.at(call.file);
    rocksdb::FSWritableFile *const file = handle.file.get();
    Extent &extent = moments_.back().files[handle.number];
    const bool left_out = leave_out_ && leave_out_(call, handle.name);

    switch (call.verb) {
    case Verb::kBlock:
        file->SetPreallocationBlockSize(call.number);
        break;
    case Verb::kPrepare:
        file->PrepareWrite(call.number, call.bytes, kOptions, nullptr);
        break;
    case Verb::kAppend:
        *extent.appended += call.data;
        extent.high += call.data.size();
        if (!left_out)
            Check(file->Append(call.data, kOptions, nullptr), call);
        if (instant_ && IsWal(handle.name))
            AllDurable(handle.number);
        break;
    case Verb::kSync:
    case Verb::kFsync:
        if (!left_out)
            Check(call.verb == Verb::kSync ? file->Sync(kOptions, nullptr)
                                           : file->Fsync(kOptions, nullptr),
                  call);
        AllDurable(handle.number);
        break;
    case Verb::kRange:
        Check(file->RangeSync(call.number, call.bytes, kOptions, nullptr), call);
        break;
    case Verb::kTruncate:
        Cut(&extent, call.number);
        Check(file->Truncate(call.number, kOptions, nullptr), call);
        break;
    case Verb::kClose:
        Check(file->Close(kOptions, nullptr), call);
        break;
    default:
        handles_.erase(call.file);
    }
}

void Replay::SyncDirectory()
{
    if (!leave_out_ || !leave_out_(Call(Verb::kSyncDirectory), ""))
        Check(directory_->Fsync(kOptions, nullptr), Call(Verb::kSyncDirectory));
    Begin();
    for (auto &[name, states] : moments_.back().names)
        states.erase(states.begin(), states.end() - 1);
}

void Replay::DoName(const Call &call)
{
    const std::string path = PathOf(call.name);
    const std::string other = PathOf(call.other);

    switch (call.verb) {
    case Verb::kRename:
        Rename(call.other, call.name);
        Check(fs_->RenameFile(other, path, kOptions, nullptr), call);
        break;
    case Verb::kLink:
        Name(call.name, moments_.back().names[call.other].back());
        Check(fs_->LinkFile(other, path, kOptions, nullptr), call);
        break;
    case Verb::kDelete:
        Name(call.name, MACHINE_NONE);
        Check(fs_->DeleteFile(path, kOptions, nullptr), call);
        break;
    default:
        Cut(&moments_.back().files[machine_find(machine_, path.c_str())], call.number);
        Check(fs_->Truncate(path, call.number, kOptions, nullptr), call);
    }
}

void Replay::Do(const Call &call)
{
    Begin();
    switch (call.verb) {
    case Verb::kBegin:
        moments_.back().begun = call.number;
        synced_ = call.synced;
        break;
    case Verb::kEnd:
        moments_.back().ended = call.number;
        if (synced_ || instant_)
            moments_.back().promised = call.number;
        break;
    case Verb::kNew:
    case Verb::kReopen:
    case Verb::kReuse:
        Open(call);
        break;
    case Verb::kRename:
    case Verb::kLink:
    case Verb::kDelete:
    case Verb::kCut:
        DoName(call);
        break;
    case Verb::kSyncDirectory:
        SyncDirectory();
        break;
    default:
        DoFile(call);
    }
}
