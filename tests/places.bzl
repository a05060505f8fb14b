"""Test programs that run once on each kind of place (tests/README.md)."""

# Memory, memory that is taken for persistent (PMEM_IS_PMEM_FORCE=1), and a disk; of an
# exhaustive test every so-manieth step there: tests/exhaustive takes them all.
PLACES = {
    "ram": 7,
    "dax": 3,
    "page": 11,
}

def place_tests(name, srcs = None, deps = [], linkopts = [], strides = PLACES, times = None, **test):
    """One program, compiled once, and a test of it for each place: NAME_ram, NAME_dax, NAME_page.

    Args:
      name: of the program; its source is NAME.c where srcs does not say otherwise.
      srcs: its sources.
      deps: what it needs; tests/core:support has its main's arguments.
      linkopts: as in cc_library.
      strides: place -> which step of an exhaustive test is taken.
      times: percent of what the program draws at random, 100 where it does not say.
      **test: what cc_test takes besides (size, data, env).
    """
    native.cc_library(
        name = name + "_code",
        testonly = True,
        srcs = srcs or [name + ".c"],
        linkopts = linkopts,
        deps = deps,
        alwayslink = True,
    )
    for place, stride in strides.items():
        native.cc_test(
            name = "%s_%s" % (name, place),
            args = ["--place", place, "--stride", str(stride)] +
                   (["--times", str(times)] if times else []),
            # A name space of process numbers would hide who is alive; other user ids,
            # and small file systems.
            tags = ["no-sandbox"],
            deps = [":%s_code" % name],
            **test
        )
