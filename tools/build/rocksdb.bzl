"""RocksDB's source as an external repository, and how programs of it are built."""

def _rocksdb_source_impl(repository):
    script = repository.path(Label("//:tools/rocksdb_source"))
    result = repository.execute([script], timeout = 1200)
    if result.return_code != 0:
        fail(result.stderr)
    folder = repository.path(result.stdout.strip())
    for entry in folder.readdir():
        if entry.basename not in ("BUILD", "BUILD.bazel", "TARGETS", "WORKSPACE"):
            repository.symlink(entry, entry.basename)
    repository.symlink(Label("//tools/build:rocksdb.BUILD"), "BUILD.bazel")

rocksdb_source = repository_rule(
    doc = "The source of the RocksDB that is installed, from Debian's source package.",
    implementation = _rocksdb_source_impl,
    environ = ["HOME", "XDG_CACHE_HOME"],
)

# As Debian's library was built: assertions are on, and change what its structures look like.
# What is hidden in a program is not the same object as the library's.
LIKE_ROCKSDB = ["-UNDEBUG", "-fvisibility=default"]

_UPSTREAM = LIKE_ROCKSDB + [
    "-w",
    "-g0",
    "-std=gnu++17",
    "-Iexternal/rocksdb_source",
    "-Iexternal/rocksdb_source/include",
] + ["-D" + name for name in [
    "BZIP2",
    "GFLAGS=1",
    "LZ4",
    "OS_LINUX",
    "ROCKSDB_FALLOCATE_PRESENT",
    "ROCKSDB_LIB_IO_POSIX",
    "ROCKSDB_MALLOC_USABLE_SIZE",
    "ROCKSDB_NO_DYNAMIC_EXTENSION",
    "ROCKSDB_PLATFORM_POSIX",
    "ROCKSDB_PTHREAD_ADAPTIVE_MUTEX",
    "ROCKSDB_RANGESYNC_PRESENT",
    "ROCKSDB_SCHED_GETCPU_PRESENT",
    "SNAPPY",
    "ZLIB",
    "ZSTD",
]]

def upstream_library(name, srcs, copts = [], deps = [], **kwargs):
    """Parts of RocksDB's source that its library does not have."""
    native.cc_library(
        name = name,
        srcs = srcs,
        copts = _UPSTREAM + copts,
        linkopts = ["-l" + library for library in [
            "rocksdb",
            "gflags",
            "snappy",
            "z",
            "bz2",
            "lz4",
            "zstd",
            "pthread",
        ]],
        deps = [":headers"] + deps,
        **kwargs
    )

def upstream_test(name, source, deps = [], copts = []):
    """One of RocksDB's own tests, with a plug-in."""
    native.cc_binary(
        name = name,
        testonly = 1,
        srcs = [source],
        # Seldom debugged, often compiled.
        copts = _UPSTREAM + ["-O1", "-g0"] + copts,
        linkopts = ["-lgtest"],
        tags = ["manual"],
        visibility = ["//visibility:public"],
        deps = [":test_support"] + deps,
    )
