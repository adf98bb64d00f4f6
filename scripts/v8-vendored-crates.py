"""Prints the Rust crates that V8's Temporal is built from, one a line: the folder its BUILD.gn wants, the crate, the version.

usage: v8-vendored-crates.py <folder of the v8 crate's sources>

The crate `v8` leaves those sources out, but every third_party/rust/<name>/v<epoch>/BUILD.gn says where they belong and
which release they are. Only what V8 reaches from temporal_capi is listed: the tree describes five times as many.
"""

import re
import sys
from pathlib import Path

ROOT = "temporal_capi/v0_2"


def main():
    build_files = Path(sys.argv[1]) / "third_party" / "rust"
    seen, waiting = {ROOT}, [ROOT]
    while waiting:
        text = (build_files / waiting.pop() / "BUILD.gn").read_text()
        folder = re.search(r"chromium_crates_io/vendor/([^/\"]+)", text)[1]
        name = re.search(r'cargo_pkg_name = "([^"]+)"', text)[1]
        version = re.search(r'cargo_pkg_version = "([^"]+)"', text)[1]
        print(folder, name, version)
        for found in re.findall(r'"//third_party/rust/([a-z0-9_]+/v[0-9_]+):', text):
            if found not in seen:
                seen.add(found)
                waiting.append(found)


main()
