#!/usr/bin/env python3
"""Stands before clang while V8 is built (GN's `cc_wrapper`), and gives V8's big groups of files a precompiled header each.

Parsing the same headers again for every file is four fifths of the time such a build takes. The first file of a group that
comes along makes the group's precompiled header, out of the headers that many of its files include. A file for which that
does not work is compiled the plain way, and so is every file outside the groups.
"""

import collections
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

GROUPS = {
    "obj/v8/torque_generated_initializers",
    "obj/v8/v8_initializers",
    "obj/v8/v8_base_without_compiler",
    "obj/v8/v8_compiler",
}
# A header belongs in where at least one file in this many includes it itself.
ONE_FILE_IN = 8
FOLDER = Path("pch")


def main():
    command = sys.argv[1:]
    output = Path(command[command.index("-o") + 1]) if "-o" in command else Path()
    group = str(output.parent)
    if group in GROUPS and "-c" in command and takes_headers_first(Path(command[command.index("-c") + 1])):
        header = precompiled(group, command)
        if header is not None:
            done = subprocess.run([*command, "-include-pch", str(header)], stderr=subprocess.PIPE, check=False)
            if done.returncode == 0:
                sys.stderr.buffer.write(done.stderr)
                return
            with open(FOLDER / "without.txt", "a", encoding="utf-8") as failed:
                failed.write(f"{output}\n")
    os.execv(command[0], command)


def takes_headers_first(source):
    """Whether nothing that the source defines could change what a header after it means."""
    lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    includes = [number for number, line in enumerate(lines) if line.startswith('#include "')]
    return not includes or not any(line.startswith("#define") for line in lines[: includes[-1]])


def precompiled(group, command):
    """The group's precompiled header, made now where there is none; None where it cannot be made."""
    FOLDER.mkdir(exist_ok=True)
    header = FOLDER / f"{Path(group).name}.pch"
    with open(header.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not header.exists():
            make(header, group, command)
    return header if header.stat().st_size > 0 else None


def make(header, group, command):
    listing = header.with_suffix(".h")
    listing.write_text("".join(f'#include "{name}"\n' for name in common_headers(group)), encoding="utf-8")
    flags = []
    rest = iter(command)
    for argument in rest:
        if argument in ("-MF", "-c", "-o"):
            next(rest)
        elif argument != "-MD" and not argument.startswith("-fmodule-name"):
            flags.append(argument)
    partial = header.with_suffix(".partial")
    made = subprocess.run([*flags, "-x", "c++-header", str(listing), "-o", str(partial)], stderr=subprocess.PIPE, check=False)
    if made.returncode == 0:
        partial.rename(header)
    else:
        # An empty one says that it was tried.
        sys.stderr.buffer.write(made.stderr)
        header.touch()


def common_headers(group):
    text = Path(f"{group}.ninja").read_text(encoding="utf-8")
    sources = re.findall(r"^build \S+\.o: cxx (\S+)", text, re.MULTILINE)
    counts = collections.Counter()
    for source in sources:
        counts.update(set(unconditional_headers(Path(source))))
    # `.inc` files define and undefine macros around what follows them: only headers may move.
    return [name for name, count in counts.most_common() if count * ONE_FILE_IN >= len(sources)]


def unconditional_headers(source):
    depth = 0
    for line in source.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("#if"):
            depth += 1
        elif line.startswith("#endif"):
            depth -= 1
        elif depth == 0 and (found := re.match(r'#include "([^"]+\.h)"', line)):
            yield found[1]


main()
