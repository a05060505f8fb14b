#include "rocksdb_env/status.h"

#include <cerrno>

#include "core/nvmmio.h"

namespace nv
{

using rocksdb::IOStatus;

IOStatus StatusOf(int error, const char *what, const std::string &path)
{
    if (error == 0)
        return IOStatus::OK();

    const std::string place = std::string(what) + ": " + path;
    const char *said = nvmmio_last_error();
    const std::string reason = said[0] ? said : nvmmio_strerror(error);

    switch (-error) {
    case ENOSPC:
    case EDQUOT: {
        /* RocksDB stops writes, watches for space, and resumes. */
        IOStatus status = IOStatus::NoSpace(place, reason);

        status.SetRetryable(true);
        return status;
    }
    case ENOENT:
        return IOStatus::PathNotFound(place, reason);
    case ESTALE:
        return IOStatus::IOError(IOStatus::kStaleFile);
    case EUCLEAN:
    case EBADMSG:
        return IOStatus::Corruption(place, reason);
    case EBUSY:
        return IOStatus::Busy(place, reason);
    case EOPNOTSUPP:
    case ENOSYS:
        return IOStatus::NotSupported(place, reason);
    case EINVAL:
    case ERANGE:
        return IOStatus::InvalidArgument(place, reason);
    default:
        /*
         * After a failed sync nobody knows what is on the medium: not to be retried.
         * The scope stays the file system's; an error of the file's scope would be.
         */
        return IOStatus::IOError(place, reason);
    }
}

} // namespace nv
