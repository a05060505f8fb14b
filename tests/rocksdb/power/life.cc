#include "tests/rocksdb/power/life.h"

const char kLast[] = "last";

rocksdb::Options LifeOptions(Kind kind)
{
    rocksdb::Options options;

    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.disable_auto_compactions = true;
    options.max_background_jobs = 1;
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    options.max_open_files = -1;
    if (kind == Kind::kPlain) {
        options.enable_blob_files = true;
        options.min_blob_size = 20000;
    } else {
        /* The only mode in which 7.8 uses WALs again.  After a crash it may read the end of one for
         * ever, on any file system (kOldRecord in its log_reader.cc takes nothing from the buffer).
         */
        options.recycle_log_file_num = 1;
        options.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
    }
    return options;
}

std::map<std::string, std::string> Puts(uint64_t number)
{
    const char letter = static_cast<char>('a' + number % 26);
    /* Within a line, within a block, over several, over the blocks that a WAL is made of. */
    static const size_t bytes[] = {30, 700, 3000, 9000, 40000};
    size_t size = bytes[0];

    for (size_t i = 1; i < sizeof bytes / sizeof bytes[0]; i++)
        if (number % (3 * i) == 0)
            size = bytes[i];
    return {
        {kLast, std::to_string(number)},
        {"key" + std::to_string(number % 17), std::to_string(number) + std::string(size, letter)}};
}

std::map<std::string, std::string> Contents(uint64_t operations)
{
    std::map<std::string, std::string> contents;

    for (uint64_t number = 1; number <= operations; number++)
        for (const auto &[key, value] : Puts(number))
            contents[key] = value;
    return contents;
}
