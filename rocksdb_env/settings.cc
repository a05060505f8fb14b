#include "rocksdb_env/settings.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <iterator>

namespace nv
{

using rocksdb::Status;

namespace
{

constexpr char kName[] = "nvmmio";
constexpr char kBegin[] = "nvmmio://";

struct Word {
    const char *text;
    unsigned value;
};

constexpr Word kMedia[] = {
    {"auto", NVMMIO_MEDIUM_AUTO},
    {"dax", NVMMIO_MEDIUM_DAX},
    {"page", NVMMIO_MEDIUM_PAGE},
    {"ram", NVMMIO_MEDIUM_RAM},
};
constexpr Word kKinds[] = {
    {"wal", kWal}, {"sst", kSst}, {"blob", kBlob}, {"other", kOther}, {"none", kPosix}};
constexpr Word kSizes[] = {
    {"auto", NVMMIO_SIZE_AUTO}, {"exact", NVMMIO_SIZE_EXACT}, {"ahead", NVMMIO_SIZE_AHEAD}};

template <size_t N> bool Find(const Word (&words)[N], const std::string &text, unsigned *value)
{
    const Word *found = std::find_if(std::begin(words), std::end(words),
                                     [&](const Word &word) { return text == word.text; });

    if (found == std::end(words))
        return false;
    *value = found->value;
    return true;
}

template <size_t N> const char *Name(const Word (&words)[N], unsigned value)
{
    return std::find_if(std::begin(words), std::end(words),
                        [&](const Word &word) { return value == word.value; })
        ->text;
}

bool SetMedium(Settings *settings, const std::string &value)
{
    unsigned medium = 0;

    if (!Find(kMedia, value, &medium))
        return false;
    settings->medium = static_cast<nvmmio_medium>(medium);
    return true;
}

bool SetStreams(Settings *settings, const std::string &value)
{
    unsigned kinds = 0;

    for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
        unsigned kind = 0;

        end = value.find(',', begin);
        if (!Find(kKinds, value.substr(begin, end == std::string::npos ? end : end - begin), &kind))
            return false;
        kinds |= kind;
    }
    settings->streams = kinds;
    return true;
}

bool SetWalSize(Settings *settings, const std::string &value)
{
    unsigned size = 0;

    if (!Find(kSizes, value, &size))
        return false;
    settings->wal_size = static_cast<enum nvmmio_size>(size);
    return true;
}

struct Option {
    const char *name;
    const char *variable;
    const char *range;
    bool (*set)(Settings *, const std::string &);
};

constexpr Option kOptions[] = {
    {"medium", "NVMMIO_MEDIUM", "auto, dax, page or ram", SetMedium},
    {"streams", "NVMMIO_STREAMS", "a list of wal, sst, blob and other with commas between, or none",
     SetStreams},
    {"wal_size", "NVMMIO_WAL_SIZE", "auto, exact or ahead", SetWalSize},
};

Status SetOption(const Option &option, const std::string &origin, const std::string &value,
                 Settings *settings)
{
    if (option.set(settings, value))
        return Status::OK();
    return Status::InvalidArgument(origin + option.name + "=" + value + ": not a valid value",
                                   std::string("it takes ") + option.range);
}

/* %XX to the byte that it stands for; false when what follows a % is not that. */
bool Decode(const std::string &text, std::string *decoded)
{
    decoded->clear();
    for (size_t i = 0; i < text.size(); i++) {
        if (text[i] != '%') {
            *decoded += text[i];
            continue;
        }
        if (i + 2 >= text.size() || !isxdigit(static_cast<unsigned char>(text[i + 1])) ||
            !isxdigit(static_cast<unsigned char>(text[i + 2])))
            return false;
        *decoded += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
        i += 2;
    }
    return true;
}

/* One NAME=VALUE. */
Status ReadParameter(const std::string &uri, const std::string &parameter, Settings *settings)
{
    const size_t equals = parameter.find('=');
    const std::string name = parameter.substr(0, equals);
    std::string value;

    if (equals == std::string::npos || !Decode(parameter.substr(equals + 1), &value))
        return Status::InvalidArgument(uri, "'" + parameter + "' is not NAME=VALUE");
    for (const Option &option : kOptions) {
        if (name == option.name)
            return SetOption(option, uri + ": ", value, settings);
    }
    return Status::InvalidArgument(uri, "there is no option '" + name +
                                            "'; there are medium, streams and wal_size");
}

bool EndsWith(const std::string &text, const std::string &end)
{
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

} // namespace

std::string Settings::Canonical() const
{
    std::string uri = std::string(kBegin) + "?streams=";
    std::string comma;

    for (const Word &kind : kKinds) {
        if (streams == kind.value || (streams & kind.value) != 0) {
            uri += comma + kind.text;
            comma = ",";
        }
    }
    return uri + "&medium=" + Name(kMedia, medium) + "&wal_size=" + Name(kSizes, wal_size);
}

Kind KindOf(const std::string &path)
{
    static const char *const posix[] = {"MANIFEST-", "OPTIONS-", "CURRENT",
                                        "IDENTITY",  "LOCK",     "LOG"};
    const std::string name = path.substr(path.rfind('/') + 1);

    if (EndsWith(name, ".log"))
        return kWal;
    if (EndsWith(name, ".sst") || EndsWith(name, ".ldb"))
        return kSst;
    if (EndsWith(name, ".blob"))
        return kBlob;
    if (EndsWith(name, ".dbtmp"))
        return kPosix;
    return std::any_of(std::begin(posix), std::end(posix),
                       [&](const char *begin) { return name.rfind(begin, 0) == 0; })
               ? kPosix
               : kOther;
}

Status ReadSettings(const std::string &uri, Settings *settings)
{
    const std::string begin = kBegin;
    Status status;

    *settings = Settings();
    for (const Option &option : kOptions) {
        const char *value = secure_getenv(option.variable);

        if (status.ok() && value && value[0])
            status = SetOption(option, "environment variable for ", value, settings);
    }
    if (!status.ok() || uri == kName || uri == begin)
        return status;
    if (uri.compare(0, begin.size(), begin) != 0)
        return Status::InvalidArgument(uri, "a URI of nvmmio begins with " + begin);
    if (uri[begin.size()] != '?')
        return Status::InvalidArgument(
            uri, "behind " + begin + " comes nothing, or ?NAME=VALUE; paths are given elsewhere");
    for (size_t at = begin.size(); status.ok() && at != std::string::npos;) {
        const size_t end = uri.find('&', at + 1);

        status = ReadParameter(
            uri, uri.substr(at + 1, end == std::string::npos ? end : end - at - 1), settings);
        at = end;
    }
    return status;
}

} // namespace nv
