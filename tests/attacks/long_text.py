#!/usr/bin/env python3
"""Attacks with texts of more bytes than the longest string of V8 (2^29): a request may fail, the process may not.

    AEROSTACK_BIN=target/release/aerostack tests/attacks/long_text.py
"""

import sys

import kit

# Each text is a rope, so that the worker's own limits do not see it.
WORKER = """
const wide = () => "\\u00e9".repeat(2.7e8);
const narrow = () => "x".repeat(1.8e8);
const ways = {
  "console.log": () => console.log(wide()),
  "console.log of three": () => console.log(narrow(), narrow(), narrow()),
  "console.log %s": () => console.log("%s", wide()),
  "console.log of an object": () => console.log({ a: "x".repeat(4e8) }),
  "console.log of a proxy": () => console.log(new Proxy({ a: "x".repeat(4e8) }, {})),
  "console.log of a tag": () => console.log({ get [Symbol.toStringTag]() { return wide(); } }),
  "console.assert": () => console.assert(false, wide()),
  "console.group": () => console.group(wide()),
  "console.table": () => console.table([{ a: wide() }]),
  "error.stack": () => new Error(wide()).stack,
  "error.name": () => Object.assign(new Error("x"), { name: wide() }).stack,
  "captureStackTrace": () => { const holder = { name: wide() }; Error.captureStackTrace(holder); return holder.stack; },
  "TextDecoder": () => new TextDecoder(wide()),
  "throw": () => { throw new Error(wide()); },
  "throw a text": () => { throw wide(); },
  "reject": () => { Promise.reject(new Error(wide())); },
  "URLSearchParams": () => new URLSearchParams({ a: "\\u00e9".repeat(1e8) }).toString(),
  "digest": () => crypto.subtle.digest(wide(), new Uint8Array(1)),
};
export default {
  async fetch(request) {
    const way = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (way === "ways") return Response.json(Object.keys(ways));
    await ways[way]();
    return new Response("ok");
  },
};
"""

GRACE_SECONDS = 3


def main():
    import json
    from urllib.parse import quote

    with kit.Project({"src/index.js": WORKER, "aerostack.toml": 'name = "attack"\nmain = "src/index.js"\n'}) as project:
        with project.run("serve") as server:
            ways = json.loads(server.get("/ways").content)
        for way in ways:
            server = project.run("serve", "--isolates", "1")
            try:
                server.get(f"/{quote(way)}", timeout=60)
            except Exception as error:
                print(f"     {way}: {type(error).__name__}: {error}")
            # The call may go on after its request was answered with 503.
            ended = kit.wait_for(lambda: server.process.poll() is not None, GRACE_SECONDS)
            kit.check(f"{way}: the process goes on", not ended, f"exit status {server.process.returncode}")
            server.process.kill()
            server.process.wait()
    return kit.finish()


if __name__ == "__main__":
    sys.exit(main())
