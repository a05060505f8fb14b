/*
 * import: a package index into SQLite, one package a transaction, or the check
 * of what such an import acknowledged.  With --extension the database is written
 * through nvmmio, without it through stock SQLite; nothing else differs.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "benchmarks/measure.h"
#include "core/tool/progress.h"
#include "sqlite_vfs/demo/database.h"
#include "sqlite_vfs/demo/package_index.h"

struct arguments {
    const char *extension;
    const char *journal_mode;
    const char *acknowledge;
    const char *label;
    size_t first;
    double seconds;
    const char *verify;
    const char *database;
    const char *index;
};

struct importer {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *add_package, *add_dependency, *get_package, *get_dependencies;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS package(id INTEGER PRIMARY KEY, name TEXT NOT NULL, version,"
    " architecture, section, priority, maintainer, installed_size, filename, size, sha256,"
    " homepage, tag, description);"
    "CREATE INDEX IF NOT EXISTS package_name ON package(name);"
    "CREATE TABLE IF NOT EXISTS dependency(package INTEGER, position INTEGER, needs TEXT,"
    " PRIMARY KEY(package, position)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS dependency_needs ON dependency(needs);";

static int prepare_import(struct importer *importer, const char *journal_mode)
{
    char sql[64];
    sqlite3 *db = importer->db;
    if (nv_database_execute(db, "PRAGMA synchronous=FULL") != 0)
        return -1;
    if (journal_mode) {
        snprintf(sql, sizeof(sql), "PRAGMA journal_mode=%s", journal_mode);
        if (nv_database_execute(db, sql) != 0)
            return -1;
    }
    if (nv_database_execute(db, schema) != 0 ||
        nv_database_prepare(db, "BEGIN", &importer->begin) != 0 ||
        nv_database_prepare(db, "COMMIT", &importer->commit) != 0 ||
        nv_database_prepare(db, "INSERT INTO package VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                            &importer->add_package) != 0)
        return -1;
    return nv_database_prepare(db, "INSERT INTO dependency VALUES(?,?,?)",
                               &importer->add_dependency);
}

static int open_database(struct importer *importer, const struct arguments *arguments)
{
    int flags = SQLITE_OPEN_READWRITE | (arguments->verify ? 0 : SQLITE_OPEN_CREATE);
    if (nv_database_open(arguments->database, arguments->extension, flags, &importer->db) != 0)
        return -1;
    if (!arguments->verify && prepare_import(importer, arguments->journal_mode) != 0)
        return -1;
    if (nv_database_prepare(importer->db, "SELECT * FROM package WHERE id=?",
                            &importer->get_package) != 0)
        return -1;
    return nv_database_prepare(importer->db,
                               "SELECT needs FROM dependency WHERE package=? ORDER BY position",
                               &importer->get_dependencies);
}

static int close_database(struct importer *importer)
{
    sqlite3_finalize(importer->begin);
    sqlite3_finalize(importer->commit);
    sqlite3_finalize(importer->add_package);
    sqlite3_finalize(importer->add_dependency);
    sqlite3_finalize(importer->get_package);
    sqlite3_finalize(importer->get_dependencies);
    int result = sqlite3_close(importer->db);
    if (result != SQLITE_OK)
        fprintf(stderr, "import: closing the database: %s\n", sqlite3_errstr(result));
    memset(importer, 0, sizeof(*importer));
    return result == SQLITE_OK ? 0 : -1;
}

/* -1: the table could not be read. */
static int64_t count_packages(struct importer *importer)
{
    sqlite3_stmt *statement = NULL;
    int64_t count = -1;
    if (nv_database_prepare(importer->db, "SELECT count(*) FROM package", &statement) == 0 &&
        sqlite3_step(statement) == SQLITE_ROW)
        count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return count;
}

static int run(struct importer *importer, sqlite3_stmt *statement)
{
    int result = sqlite3_step(statement);
    sqlite3_reset(statement);
    return result == SQLITE_DONE ? 0 : nv_database_fail(importer->db, sqlite3_sql(statement));
}

static void bind(sqlite3_stmt *statement, int column, struct nv_slice value)
{
    if (value.text)
        sqlite3_bind_text(statement, column, value.text, value.bytes, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, column);
}

/* One transaction.  `hash` is that of the values as they were given to SQLite. */
static int import_package(struct importer *importer, int64_t id, const struct nv_package *package,
                          uint64_t *hash)
{
    if (run(importer, importer->begin) != 0)
        return -1;
    *hash = NV_CONTENT_HASH_SEED;
    sqlite3_bind_int64(importer->add_package, 1, id);
    for (int i = 0; i < NV_PACKAGE_FIELDS; i++) {
        bind(importer->add_package, i + 2, package->field[i]);
        *hash = nv_content_hash_add(*hash, package->field[i]);
    }
    if (run(importer, importer->add_package) != 0)
        return -1;
    int position = 0;
    for (size_t i = 0; i < 2; i++) {
        struct nv_slice rest = package->depends[i], one;
        while ((one = nv_package_next_dependency(&rest)).text) {
            sqlite3_bind_int64(importer->add_dependency, 1, id);
            sqlite3_bind_int(importer->add_dependency, 2, position++);
            bind(importer->add_dependency, 3, one);
            *hash = nv_content_hash_add(*hash, one);
            if (run(importer, importer->add_dependency) != 0)
                return -1;
        }
    }
    return run(importer, importer->commit);
}

/* "id hash name", in one write: whoever reads it knows that the commit has returned. */
static int acknowledge(int fd, int64_t id, uint64_t hash, struct nv_slice name)
{
    char line[512];
    int bytes = snprintf(line, sizeof(line), "%" PRId64 " %016" PRIx64 " %.*s\n", id, hash,
                         name.bytes < 400 ? name.bytes : 400, name.text);
    if (write(fd, line, (size_t)bytes) == bytes)
        return 0;
    perror("import: acknowledging");
    return -1;
}

static int import_all(struct importer *importer, const struct arguments *arguments,
                      const struct nv_package_index *index, size_t *imported)
{
    size_t count = index->count;
    if (arguments->first && arguments->first < count)
        count = arguments->first;
    int64_t there = count_packages(importer);
    if (there < 0)
        return nv_database_fail(importer->db, "counting the packages");

    int result = 0, fd = -1;
    if (arguments->acknowledge) {
        fd = open(arguments->acknowledge, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (fd < 0) {
            perror(arguments->acknowledge);
            return -1;
        }
    }
    struct nv_progress progress;
    nv_progress_start(&progress, stderr, arguments->label, "packages", true);
    double end = nv_wall_seconds() + arguments->seconds;
    for (size_t i = (size_t)there; i < count && result == 0; i++) {
        uint64_t hash;
        if (i % 16 == 0 && arguments->seconds > 0 && nv_wall_seconds() > end)
            break;
        result = import_package(importer, (int64_t)i + 1, &index->packages[i], &hash);
        if (result == 0 && fd >= 0)
            result = acknowledge(fd, (int64_t)i + 1, hash, index->packages[i].field[0]);
        if (result == 0 && *arguments->label && (i % 16 == 15 || i + 1 == count))
            nv_progress_update(&progress, i + 1, count);
        ++*imported;
    }
    nv_progress_end(&progress);
    if (fd >= 0)
        close(fd);
    return result;
}

static struct nv_slice column(sqlite3_stmt *statement, int i)
{
    const char *text = (const char *)sqlite3_column_text(statement, i);
    return (struct nv_slice){text, sqlite3_column_bytes(statement, i)};
}

/* 1: the package is in the database, with this name and content.  0: it is not.  -1: no answer. */
static int verify_package(struct importer *importer, int64_t id, uint64_t wanted, const char *name)
{
    uint64_t hash = NV_CONTENT_HASH_SEED;
    sqlite3_stmt *package = importer->get_package, *needs = importer->get_dependencies;
    sqlite3_bind_int64(package, 1, id);
    sqlite3_bind_int64(needs, 1, id);
    bool same_name = false;
    int result = sqlite3_step(package);
    if (result == SQLITE_ROW) {
        struct nv_slice found = column(package, 1);
        same_name = (size_t)found.bytes == strlen(name) &&
                    memcmp(found.text, name, (size_t)found.bytes) == 0;
        for (int i = 0; i < NV_PACKAGE_FIELDS; i++)
            hash = nv_content_hash_add(hash, column(package, i + 1));
        while ((result = sqlite3_step(needs)) == SQLITE_ROW)
            hash = nv_content_hash_add(hash, column(needs, 0));
    }
    sqlite3_reset(package);
    sqlite3_reset(needs);
    if (result != SQLITE_DONE)
        return nv_database_fail(importer->db, "reading back");
    return same_name && hash == wanted;
}

static int verify_all(struct importer *importer, const char *path)
{
    size_t acknowledged = 0, lost = 0;
    int64_t id = 0, last = 0;
    uint64_t hash;
    char name[512];
    FILE *file = fopen(path, "re");
    if (!file) {
        perror(path);
        return -1;
    }
    int present = 0;
    while (present >= 0 && fscanf(file, "%" SCNd64 " %" SCNx64 " %511s", &id, &hash, name) == 3) {
        acknowledged++;
        last = id > last ? id : last;
        present = verify_package(importer, id, hash, name);
        if (present == 0 && lost++ < 10)
            fprintf(stderr, "import: LOST: package %" PRId64 ", %s\n", id, name);
    }
    bool whole = feof(file) && !ferror(file);
    fclose(file);
    int64_t there = count_packages(importer);
    if (present < 0 || there < 0)
        return -1;
    if (!whole || acknowledged == 0) {
        fprintf(stderr, "import: %s is not a list of acknowledgements\n", path);
        return -1;
    }
    printf("acknowledged %zu, present with the same name and content %zu, in the database %" PRId64
           "\n",
           acknowledged, acknowledged - lost, there);
    return lost == 0 && there >= last ? 0 : -1;
}

/* The time of an import is from before the open to after the close. */
static int import_timed(const struct arguments *arguments)
{
    struct nv_package_index index;
    struct importer importer = {0};
    size_t imported = 0;
    int error = nv_package_index_read(arguments->index, &index);
    if (error) {
        fprintf(stderr, "import: %s: %s\n", arguments->index, strerror(-error));
        return -1;
    }
    if (!index.count) {
        fprintf(stderr, "import: %s: no packages in it\n", arguments->index);
        nv_package_index_free(&index);
        return -1;
    }
    double wall = nv_wall_seconds(), cpu = nv_cpu_seconds();
    int result = open_database(&importer, arguments);
    if (result == 0)
        result = import_all(&importer, arguments, &index, &imported);
    if (close_database(&importer) != 0)
        result = -1;
    if (result == 0)
        printf("%zu %.3f %.3f\n", imported, nv_wall_seconds() - wall, nv_cpu_seconds() - cpu);
    nv_package_index_free(&index);
    return result;
}

static int verify(const struct arguments *arguments)
{
    struct importer importer = {0};
    int result = open_database(&importer, arguments);
    if (result == 0)
        result = verify_all(&importer, arguments->verify);
    if (close_database(&importer) != 0)
        result = -1;
    return result;
}

enum { KEY_LABEL = 0x100 };

static const struct argp_option options[] = {
    {"extension", 'e', "SO", 0, "Write through nvmmio: the loadable extension", 0},
    {"journal-mode", 'j', "MODE", 0, "Set journal_mode (default: SQLite's own default)", 0},
    {"acknowledge", 'a', "FILE", 0, "Append a line for every package whose commit returned", 0},
    {"first", 'n', "COUNT", 0, "Import only the first COUNT packages", 0},
    {"seconds", 's', "COUNT", 0, "Stop, in good order, when these are over", 0},
    {"label", KEY_LABEL, "TEXT", 0, "What the progress bar is called; empty: no bar", 0},
    {"verify", 'v', "FILE", 0, "Import nothing: look for what FILE acknowledges", 0},
    {0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    char *end;
    switch (key) {
    case 'e':
        arguments->extension = text;
        return 0;
    case 'j':
        arguments->journal_mode = text;
        return 0;
    case 'a':
        arguments->acknowledge = text;
        return 0;
    case 'n':
        arguments->first = strtoul(text, &end, 10);
        if (*end || !arguments->first)
            argp_error(state, "--first: not a number above 0: %s", text);
        return 0;
    case 's':
        arguments->seconds = strtod(text, &end);
        if (*end || arguments->seconds <= 0)
            argp_error(state, "--seconds: not a number above 0: %s", text);
        return 0;
    case KEY_LABEL:
        arguments->label = text;
        return 0;
    case 'v':
        arguments->verify = text;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            argp_error(state, "too many arguments: %s", text);
        *(state->arg_num ? &arguments->index : &arguments->database) = text;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->database || (!arguments->index && !arguments->verify))
            argp_error(state, "DATABASE or INDEX is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "DATABASE INDEX\n--verify=FILE DATABASE",
        .doc = "Import a package index into SQLite, one package a transaction, going on where an"
               " earlier import ended.  Prints packages, seconds, processor seconds."};
    struct arguments arguments = {.label = "importing"};
    argp_err_exit_status = 2;
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments) != 0)
        return 2;
    if (arguments.extension && nv_database_load(arguments.extension) != 0)
        return 1;
    return (arguments.verify ? verify(&arguments) : import_timed(&arguments)) == 0 ? 0 : 1;
}
