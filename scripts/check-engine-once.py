#!/usr/bin/env python3
"""Fails where the build and the tests together compile `deno_core` more than once, and names the crates that cause it.

Cargo compiles a crate again for each set of features that it, or anything below it, is asked for with; the engine takes
minutes each time. It is needed by the binary, by the tests and by the build script that bakes the snapshot.
"""

import collections
import json
import os
import subprocess
import sys

ENGINE = "deno_core"


def main():
    copies = collections.defaultdict(dict)  # crate -> {identity of one compilation: its features}
    for command in ("build", "test"):
        for crate, identity, features in compilations(command):
            copies[crate][identity] = features
    engine = next(crate for crate in copies if crate.startswith(f"{ENGINE}@"))
    if len(copies[engine]) == 1:
        return
    print(f"{engine} would be compiled {len(copies[engine])} times. These crates are asked for with different features:")
    for crate, found in sorted(copies.items()):
        differing = set.union(*found.values()) - set.intersection(*found.values())
        if differing and not crate.startswith("aerostack-"):
            print(f"  {crate}: {', '.join(sorted(differing))}")
    sys.exit("name those features in runtime/platform/Cargo.toml, which the build script and the binary both depend on")


def compilations(command):
    """Every library that a command compiles: (name@version, identity, features)."""
    graph = subprocess.run(
        ["cargo", command, "--release", "--locked", "--workspace", "--unit-graph", "-Z", "unstable-options"],
        env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
        stdout=subprocess.PIPE,
        check=False,
    )
    if graph.returncode != 0:
        sys.exit(graph.returncode)
    units = json.loads(graph.stdout)["units"]
    identities = {}

    def identity(index):
        if index not in identities:
            unit = units[index]
            below = sorted(identity(dependency["index"]) for dependency in unit["dependencies"])
            own = (unit["pkg_id"], unit["target"]["name"], unit["mode"], unit["features"], json.dumps(unit["profile"], sort_keys=True))
            identities[index] = hash((repr(own), tuple(below)))
        return identities[index]

    for index, unit in enumerate(units):
        if unit["mode"] == "build" and "custom-build" not in unit["target"]["kind"]:
            crate = unit["pkg_id"].rsplit("#", 1)[-1]
            yield crate, identity(index), set(unit["features"])


main()
