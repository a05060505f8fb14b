"""How this project's C targets are declared."""

def layer(name, deps = [], modules = None, linkopts = []):
    """A layer of the engine: each module is <module>.c, <module>_*.c and the same with .h.

    The layer sees only the headers of the layers in deps and of those below
    them; only the engine and the tests see it.
    """
    modules = modules or [name]
    sources = [m + end for m in modules for end in (".c", "_*.c")]
    headers = [m + end for m in modules for end in (".h", "_*.h")]
    native.cc_library(
        name = name,
        srcs = native.glob(sources),
        hdrs = native.glob(headers),
        linkopts = linkopts,
        linkstatic = True,
        visibility = ["//core:__pkg__", "//tests:__subpackages__"],
        deps = deps,
    )

def _facade_impl(ctx):
    return [
        DefaultInfo(files = ctx.attr.library[DefaultInfo].files),
        CcInfo(
            compilation_context = ctx.attr.interface[CcInfo].compilation_context,
            linking_context = ctx.attr.library[CcInfo].linking_context,
        ),
    ]

facade = rule(
    doc = "A library of which only the headers of another target can be included.",
    implementation = _facade_impl,
    attrs = {
        "interface": attr.label(mandatory = True, providers = [CcInfo]),
        "library": attr.label(mandatory = True, providers = [CcInfo]),
    },
    provides = [CcInfo],
)

def unit_test(name, deps = [], srcs = None, **kwargs):
    """A cmocka test in <name>.c."""
    native.cc_test(
        name = name,
        srcs = srcs or [name + ".c"],
        linkopts = ["-lcmocka"],
        deps = deps,
        **kwargs
    )
