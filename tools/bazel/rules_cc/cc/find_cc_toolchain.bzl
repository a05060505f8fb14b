"""The name under which rules_cc offers it; Bazel has it built in."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", _find = "find_cpp_toolchain")

find_cc_toolchain = _find
find_cpp_toolchain = _find
