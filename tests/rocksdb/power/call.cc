#include "tests/rocksdb/power/call.h"

#include <fstream>
#include <iterator>
#include <sstream>

namespace
{

constexpr size_t kRun = 6; /* from here on a run of one byte is shorter as its length */

/* What stands behind the verb, in this order. */
enum Part : unsigned {
    kFile = 1U << 0,
    kName = 1U << 1,
    kOther = 1U << 2,
    kNumber = 1U << 3,
    kBytes = 1U << 4,
    kData = 1U << 5,
    kSynced = 1U << 6,
};

const struct {
    const char *name;
    unsigned parts;
} kVerbs[] = {
    {"begin", kNumber | kSynced},
    {"end", kNumber},
    {"new", kFile | kName},
    {"reopen", kFile | kName},
    {"reuse", kFile | kName | kOther},
    {"block", kFile | kNumber},
    {"prepare", kFile | kNumber | kBytes},
    {"append", kFile | kData},
    {"sync", kFile},
    {"fsync", kFile},
    {"range", kFile | kNumber | kBytes},
    {"truncate", kFile | kNumber},
    {"close", kFile},
    {"drop", kFile},
    {"rename", kName | kOther},
    {"link", kName | kOther},
    {"delete", kName},
    {"cut", kName | kNumber},
    {"sync-directory", 0},
};

unsigned PartsOf(Verb verb)
{
    return kVerbs[static_cast<size_t>(verb)].parts;
}

/* Hexadecimal; a run is one byte, a star and its length; commas between. */
std::string Encode(const std::string &data)
{
    static const char digits[] = "0123456789abcdef";
    std::string text;
    bool in_run = false;

    for (size_t i = 0; i < data.size();) {
        const size_t end = data.find_first_not_of(data[i], i);
        const size_t run = (end == std::string::npos ? data.size() : end) - i;
        const bool is_run = run >= kRun;

        if (i && (is_run || in_run))
            text += ',';
        text += digits[static_cast<unsigned char>(data[i]) >> 4];
        text += digits[data[i] & 15];
        if (is_run)
            text += '*' + std::to_string(run);
        in_run = is_run;
        i += is_run ? run : 1;
    }
    return text;
}

bool Decode(const std::string &text, std::string *data)
{
    std::istringstream in(text);
    std::string piece;

    while (std::getline(in, piece, ',')) {
        const size_t star = piece.find('*');
        const size_t digits = star == std::string::npos ? piece.size() : star;

        if (digits % 2 || piece.find_first_not_of("0123456789abcdef") < digits)
            return false;
        for (size_t i = 0; i < digits; i += 2)
            *data += static_cast<char>(std::stoul(piece.substr(i, 2), nullptr, 16));
        if (star != std::string::npos)
            data->append(std::stoul(piece.substr(star + 1)) - 1, data->back());
    }
    return !data->empty();
}

bool Parse(const std::string &line, Call *call)
{
    std::istringstream in(line);
    std::string word;
    size_t verb = 0;

    in >> word;
    while (verb < std::size(kVerbs) && word != kVerbs[verb].name)
        verb++;
    if (verb == std::size(kVerbs))
        return false;
    call->verb = static_cast<Verb>(verb);

    const unsigned parts = PartsOf(call->verb);
    if (parts & kFile)
        in >> call->file;
    if (parts & kName)
        in >> call->name;
    if (parts & kOther)
        in >> call->other;
    if (parts & kNumber)
        in >> call->number;
    if (parts & kBytes)
        in >> call->bytes;
    if (parts & kSynced)
        in >> call->synced;
    if ((parts & kData) && (!(in >> word) || !Decode(word, &call->data)))
        return false;
    return !in.fail() && !(in >> word);
}

} // namespace

bool HasFile(Verb verb)
{
    return (PartsOf(verb) & kFile) != 0;
}

std::string Print(const Call &call)
{
    const unsigned parts = PartsOf(call.verb);
    std::ostringstream out;

    out << kVerbs[static_cast<size_t>(call.verb)].name;
    if (parts & kFile)
        out << ' ' << call.file;
    if (parts & kName)
        out << ' ' << call.name;
    if (parts & kOther)
        out << ' ' << call.other;
    if (parts & kNumber)
        out << ' ' << call.number;
    if (parts & kBytes)
        out << ' ' << call.bytes;
    if (parts & kSynced)
        out << ' ' << call.synced;
    if (parts & kData)
        out << ' ' << Encode(call.data);
    return out.str();
}

bool ReadCalls(const std::string &path, std::vector<Call> *calls, std::string *error)
{
    std::ifstream in(path);
    std::string line;

    if (!in) {
        *error = path + ": cannot be read";
        return false;
    }
    for (unsigned number = 1; std::getline(in, line); number++) {
        Call call(Verb::kBegin);

        if (line.empty() || line[0] == '#')
            continue;
        if (!Parse(line, &call)) {
            *error = path + ":" + std::to_string(number) + ": not a call: " + line.substr(0, 60);
            return false;
        }
        calls->push_back(call);
    }
    return true;
}
