#!/usr/bin/python3
"""Writes one file that includes all of protoc's: compiled alone, each of them reads Protocol Buffers' headers anew, which is
most of the work. What protoc calls by the same name in each is told apart.

together.py OUTPUT NAME...
"""

import sys

SAME_NAMES = ("schemas", "file_default_instances")

output, *names = sys.argv[1:]
lines = [f'#include "mgmt/api/{name}.pb.h"' for name in names]  # before the names mean something else
for name in names:
    lines += [f"#define {same} {name}_{same}" for same in SAME_NAMES]
    lines += [f'#include "mgmt/api/{name}.pb.cc"']
    lines += [f"#undef {same}" for same in SAME_NAMES]
with open(output, "w") as file:
    file.write("\n".join(lines) + "\n")
