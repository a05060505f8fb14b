#include "tests/rocksdb/power/look.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <rocksdb/env.h>

namespace
{

const rocksdb::IOOptions kOptions;

std::string Wrong(const std::string &name, const std::string &what, uint64_t got,
                  const Extent &extent)
{
    return name + ": " + what + ": " + std::to_string(got) + " bytes, of " +
           std::to_string(extent.low) + " to " + std::to_string(extent.high);
}

bool AllZeros(const std::string &data, size_t from)
{
    return data.find_first_not_of('\0', from) == std::string::npos;
}

std::string LookAtContents(const std::string &name, const std::string &got, const Extent &extent,
                           Crash crash)
{
    const std::string &appended = *extent.appended;
    const uint64_t low = crash == Crash::kProcess ? extent.high : extent.low;

    if (got.size() < low || got.compare(0, low, appended, 0, low) != 0)
        return Wrong(name, "bytes are lost", got.size(), extent);
    if (extent.cut || extent.reused)
        return "";

    size_t at = low;
    while (at < got.size() && at < extent.high &&
           (got[at] == appended[at] || (crash == Crash::kPowerUnordered && got[at] == 0)))
        at++;
    if (at < got.size() && (crash != Crash::kPowerUnordered || !AllZeros(got, at)))
        return Wrong(name, "byte " + std::to_string(at) + " was not appended", got.size(), extent);
    return "";
}

std::string Bytes(struct machine *machine, uint32_t file)
{
    uint64_t bytes = 0;
    const auto *data = reinterpret_cast<const char *>(machine_bytes(machine, file, &bytes));

    return {data, bytes};
}

std::string LookAtName(const std::string &name, uint32_t file, const std::vector<uint32_t> &states,
                       Crash crash)
{
    const bool allowed = crash == Crash::kProcess
                             ? file == states.back()
                             : std::find(states.begin(), states.end(), file) != states.end();

    if (allowed)
        return "";
    return name + (file == MACHINE_NONE ? " is not there" : " is a file that it cannot be");
}

/* Where there is a CURRENT, there is what it names.  RocksDB syncs the directory once for the names
 * of both: their order is the file system's. */
std::string LookAtCurrent(struct machine *machine, Crash crash)
{
    const uint32_t file = machine_find(machine, PathOf("CURRENT").c_str());

    if (file == MACHINE_NONE)
        return "";
    std::string manifest = Bytes(machine, file);
    if (manifest.empty() || manifest.back() != '\n')
        return "CURRENT is not whole";
    manifest.pop_back();
    if (crash != Crash::kPowerUnordered &&
        machine_find(machine, PathOf(manifest).c_str()) == MACHINE_NONE)
        return "CURRENT names " + manifest + ", which is not there";
    return "";
}

std::string ReadAll(rocksdb::FileSystem *fs, const std::string &path, std::string *data)
{
    std::unique_ptr<rocksdb::FSSequentialFile> file;
    uint64_t bytes = 0;
    rocksdb::IOStatus status = fs->NewSequentialFile(path, rocksdb::FileOptions(), &file, nullptr);

    if (status.ok())
        status = fs->GetFileSize(path, kOptions, &bytes, nullptr);
    if (!status.ok())
        return path + ": " + status.ToString();
    std::string scratch(bytes + 1, '\0');
    rocksdb::Slice got;
    status = file->Read(scratch.size(), kOptions, &got, scratch.data(), nullptr);
    *data = got.ToString();
    if (!status.ok() || got.size() != bytes)
        return path + ": " + status.ToString() + ", " + std::to_string(got.size()) + " of " +
               std::to_string(bytes) + " bytes are read";
    return "";
}

/* ---- the database -------------------------------------------------------------------------- */

bool Export(struct machine *machine, const std::string &directory)
{
    struct machine_name names[MACHINE_NAMES_MAX];
    const size_t count = machine_names(machine, names);

    for (size_t i = 0; i < count; i++) {
        const std::string name = std::string(names[i].path).substr(PathOf("").size());
        const std::string data = Bytes(machine, names[i].file);
        std::string path = directory;
        std::ofstream out(path.append("/").append(name), std::ios::binary);
        out.write(data.data(), static_cast<std::streamsize>(data.size()));
        if (!out.flush())
            return false;
    }
    return true;
}

std::string LookAtData(const std::map<std::string, std::string> &found, uint64_t low, uint64_t high)
{
    const auto last = found.find(kLast);
    const uint64_t operations = last == found.end() ? 0 : std::stoull(last->second);

    if (operations >= low && operations <= high && found == Contents(operations))
        return "";
    return "the database is not what operation " + std::to_string(operations) + ", of " +
           std::to_string(low) + " to " + std::to_string(high) + ", left";
}

} // namespace

std::string LookAtNames(struct machine *machine, const Moment &moment, Crash crash)
{
    for (const auto &[name, states] : moment.names) {
        const uint32_t file = machine_find(machine, PathOf(name).c_str());
        std::string problem = LookAtName(name, file, states, crash);

        if (problem.empty() && file != MACHINE_NONE && !IsStream(name))
            problem = LookAtContents(name, Bytes(machine, file), moment.files.at(file), crash);
        if (!problem.empty())
            return problem;
    }
    return LookAtCurrent(machine, crash);
}

std::string LookAtStreams(struct machine *machine, rocksdb::FileSystem *fs, const Moment &moment,
                          Crash crash)
{
    for (const auto &[name, states] : moment.names) {
        const uint32_t file = machine_find(machine, PathOf(name).c_str());
        std::string data;

        if (file == MACHINE_NONE || !IsStream(name))
            continue;
        std::string problem = ReadAll(fs, PathOf(name), &data);
        if (problem.empty())
            problem = LookAtContents(name, data, moment.files.at(file), crash);
        if (!problem.empty())
            return problem;
    }
    return "";
}

std::string LookAtDatabase(struct machine *machine, const Moment &moment, Crash crash,
                           const std::string &directory)
{
    rocksdb::Options options = LifeOptions(Kind::kPlain);
    rocksdb::DB *opened = nullptr;
    std::map<std::string, std::string> found;

    (void)rocksdb::DestroyDB(directory, options);
    if (!rocksdb::Env::Default()->CreateDirIfMissing(directory).ok() || !Export(machine, directory))
        return directory + ": " + strerror(errno);
    options.paranoid_checks = true;
    rocksdb::Status status = rocksdb::DB::Open(options, directory, &opened);
    const std::unique_ptr<rocksdb::DB> db(opened);
    if (status.ok()) {
        const std::unique_ptr<rocksdb::Iterator> at(db->NewIterator(rocksdb::ReadOptions()));
        for (at->SeekToFirst(); at->Valid(); at->Next())
            found[at->key().ToString()] = at->value().ToString();
        status = at->status();
    }
    if (!status.ok())
        return "the database: " + status.ToString();
    return LookAtData(found, crash == Crash::kProcess ? moment.ended : moment.promised,
                      moment.begun);
}
