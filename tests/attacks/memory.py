#!/usr/bin/env python3
"""Attacks on the memory, the threads and the descriptors of the process, on a machine of 2 GB (a control group).

    AEROSTACK_BIN=target/release/aerostack tests/attacks/memory.py [name...]

Each attack is repeated beside a neighbour in the same process. It has to end in an error that names what was exceeded
(or in an answer, where it is no attack any more); the kernel kills nobody, the neighbour is answered, and what the
rounds leave does not add up. Needs root for the control group, and says so where there is none. With names, only
those attacks run.
"""

import collections
import contextlib
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time

import kit

GROUP_BYTES = 2 << 30
NEIGHBOUR_SECONDS = 3.0
ROUNDS = 20
# Of those that fill the machine each time.
FEW = 6

CONFIG = """name = "attacker"
[limits]
cpu_ms = 3000
wall_ms = 20000
[[functions]]
name = "neighbour"
main = "src/neighbour.js"
route = "/neighbour"
[[functions]]
name = "busy"
main = "src/busy.js"
route = "/busy"
[[functions]]
name = "taking"
main = "src/taking.js"
route = "/taking"
[[functions]]
name = "accomplice"
main = "src/accomplice.js"
route = "/accomplice"
"""

NEIGHBOUR = "export default { fetch: () => new Response('unharmed') };"

# A hundred megabytes of buffers, of the 128 that it may have.
TAKING = """export default {
  fetch() {
    const kept = Array.from({ length: 100 }, (_, i) => new Uint8Array(1 << 20).fill(i));
    return new Response(kept.length === 100 ? "unharmed" : "");
  },
};"""

# Two seconds of work within its limits.
BUSY = """export default {
  fetch() {
    let kept = [];
    for (const until = Date.now() + 2000; Date.now() < until;) {
      kept.push(new Float64Array(1000).fill(1.5));
      if (kept.length > 5000) kept = [];
    }
    return new Response("unharmed");
  },
};"""

# All of it is held by the module: nothing is garbage before the isolate is replaced.
ATTACKS = r"""
const text = (value) => new Response(String(value));
const breathe = (ms = 0) => new Promise((done) => setTimeout(done, ms));
const MB = 1 << 20;
const kept = [];
const touched = (buffer) => {
  const bytes = new Uint8Array(buffer);
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
  return buffer;
};
const resizable = (bytes) => touched(new ArrayBuffer(bytes, { maxByteLength: bytes }));
const growable = (bytes) => touched(new SharedArrayBuffer(bytes, { maxByteLength: bytes }));
const sharedMemory = () => touched(new WebAssembly.Memory({ initial: 128, maximum: 128, shared: true }).buffer);
const refusedClone = (buffer) => {
  try {
    structuredClone([buffer, () => {}]);
  } catch {}
};
const inShortTurns = async (times, step) => {
  for (let i = 0; i < times; i++) {
    await step(i);
    await breathe();
  }
  return text("went through");
};
const leb = (number) => {
  const bytes = [];
  for (; number > 127; number >>>= 7) bytes.push(number & 127 | 128);
  return [...bytes, number];
};
// A WebAssembly module with one function of so many locals and nested blocks, each of which has a branch to its end.
const nest = (locals, blocks) => {
  const body = [1, ...leb(locals), 0x7f];
  for (let i = 0; i < blocks; i++) body.push(0x02, 0x40);
  for (let i = 0; i < blocks; i++) body.push(0x20, 0, 0x0d, ...leb(i));
  for (let i = 0; i <= blocks; i++) body.push(0x0b);
  const head = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10];
  const size = leb(body.length);
  return new Uint8Array(head.concat(leb(body.length + size.length + 1), 1, size, body));
};

const handlers = {
  calls: () => text("called"),

  // Grows for a while and then holds, within the CPU limit, what the limits of an isolate never allow.
  "hold": async () => {
    const { port1, port2 } = new MessageChannel();
    kept.push(port2);
    const long = "x".repeat(4e6);
    return await inShortTurns(144, () => port1.postMessage(long));
  },

  // What no turn of the event loop is long enough to be caught at.
  "messages-in-short-turns": async () => {
    const { port1, port2 } = new MessageChannel();
    kept.push(port2);
    const long = "x".repeat(8e6);
    return await inShortTurns(600, () => port1.postMessage(long));
  },
  "buffers-moved": async () => {
    const { port1, port2 } = new MessageChannel();
    kept.push(port2);
    return await inShortTurns(400, () => {
      const buffer = resizable(8 * MB);
      port1.postMessage(buffer, [buffer]);
    });
  },
  "shared-buffer-never-taken": () => inShortTurns(400, () => refusedClone(growable(8 * MB))),
  "shared-memory-never-taken": () => inShortTurns(400, () => refusedClone(sharedMemory())),
  "segments": () => {
    const [segmenter, long] = [new Intl.Segmenter(), "x".repeat(4e6)];
    return inShortTurns(400, () => kept.push(segmenter.segment(long)));
  },
  "codecs": () => inShortTurns(400, () => {
    for (let i = 0; i < 50; i++) {
      const stream = new CompressionStream("gzip");
      stream.writable.getWriter().write(new Uint8Array(10));
      kept.push(stream);
    }
  }),
  "secrets": () => {
    const [material, algorithm] = [new Uint8Array(30 * MB), { name: "HMAC", hash: "SHA-256" }];
    return inShortTurns(100, async () => {
      const key = await crypto.subtle.importKey("raw", material, algorithm, false, ["sign"]);
      await crypto.subtle.sign("HMAC", key, new Uint8Array(1));
      kept.push(key);
    });
  },

  // Built-ins with memory of their own.
  "normalized": () => text("\ufdfa".repeat(2.9e7).normalize("NFKD").length),
  "url-pattern": () => text(new URLPattern({ pathname: "/" + "a".repeat(3e7) }).pathname.length),
  "expression": () => text(new RegExp("(?:[ab]c|)".repeat(4e6)).test("x")),
  "nested-blocks": () => text(new WebAssembly.Instance(new WebAssembly.Module(nest(49000, 20000))).exports.f()),
  "base64": () => {
    new Uint8Array(1e8).toBase64();
    return text(Uint8Array.fromBase64("A".repeat(4e8)).length);
  },
  "text-and-buffer": () => {
    const long = "a".repeat(4e8);
    return text(/b/.test(long) + new Uint8Array(2e8).length + long.length);
  },
  "long-text-kept": () => {
    kept.push("a".repeat(5e8));
    return text(/b/.test(kept.at(-1)));
  },
  "list-format": () => text(new Intl.ListFormat().format(Array(5e6).fill("x")).length),
  "keys-of-buffer": () => text(Object.keys(new Uint8Array(2 ** 27 - 70000)).length),

  // What looks at nothing, and never ends.
  "includes-endless": () => text([].includes.call({ length: 2 ** 53 - 1 }, 1)),
  "last-index-endless": () => text("a".repeat(4e7).lastIndexOf("a".repeat(2e7) + "b")),

  // Bindings.
  "views": async ({ DB }) => {
    const [list, name] = ["1,".repeat(49000) + "1", "v" + Math.floor(Math.random() * 1e9)];
    const view = (_, i) => DB.prepare(`CREATE VIEW ${name}_${i} AS SELECT 1 IN (${list}) AS a`);
    await DB.batch(Array.from({ length: 400 }, view));
    return text("made");
  },
  "bodies-unread": async ({ STORAGE }) => {
    await STORAGE.put("large", new Uint8Array(MB));
    for (let i = 0; i < 900; i++) kept.push(await STORAGE.get("large"));
    return text("open");
  },
  "values-at-once": async ({ CACHE }) => {
    for (let i = 0; i < 8; i++) await CACHE.put("g" + i, new Uint8Array(24 * MB).fill(i));
    const values = Array.from({ length: 400 }, (_, i) => CACHE.get("g" + i % 8, "arrayBuffer"));
    return text((await Promise.all(values)).length);
  },
  "vectors-at-once": async ({ VECTORIZE }) => {
    const values = Array.from({ length: 1536 }, (_, i) => i % 7);
    const vectors = Array.from({ length: 1000 }, (_, i) => ({ id: `v${i}`, values }));
    const calls = [];
    await inShortTurns(200, () => calls.push(VECTORIZE.upsert(vectors)));
    return text((await Promise.allSettled(calls)).length);
  },

  // Answers and lines.
  "messages-in-a-long-turn": () => {
    const [{ port1, port2 }, long] = [new MessageChannel(), "x".repeat(4e6)];
    for (let i = 0; i < 1500; i++) port1.postMessage(long);
    return text(port2);
  },
  "line": () => {
    console.log("x".repeat(250000));
    return text("logged");
  },
  "brotli": () => new Response(new ReadableStream({
    async pull(controller) {
      controller.enqueue(crypto.getRandomValues(new Uint8Array(30000)));
      await breathe(50);
    },
  }), { headers: { "content-encoding": "br" } }),
  "stream": () => new Response(new ReadableStream({
    async pull(controller) {
      controller.enqueue(new Uint8Array(10));
      await breathe(200);
    },
  })),
  "errors": () => {
    const texts = { name: "é".repeat(16000), stack: "€".repeat(16000) };
    const long = () => Object.assign(new Error("m".repeat(16000)), texts);
    throw new AggregateError(Array.from({ length: 255 }, long), "All");
  },
};

export default {
  async fetch(request, env) {
    const name = new URL(request.url).pathname.split("/").at(-1);
    if (name === "errors") return handlers.errors();
    try {
      return await handlers[name](env);
    } catch (error) {
      return new Response(`caught ${String(error?.message).slice(0, 1000)}`, { status: 400 });
    }
  },
};
"""

STOPPED = (503, r"raise limits\.")
# Where no counter sees what grows: the machine has little left, and whoever grows is stopped.
RELIEVED = (503, r"nearly out of memory")
NO_BUFFER = (400, r"Array buffer allocation failed|raise limits\.array_buffer_mb")
TOO_LONG = (400, r"Invalid string length|string too long|[Tt]oo (large|long|big)")
OUT_OF_SQL = (400, r"SQLITE_(NOMEM|TOOBIG|FULL)")
DONE = (200, r"")

# An attack, what it may come to, and how often it is tried: fewer times where one takes seconds.
REPEATED = [
    ("messages-in-short-turns", [STOPPED, NO_BUFFER, RELIEVED], FEW),
    ("buffers-moved", [STOPPED, NO_BUFFER, RELIEVED], FEW),
    ("shared-buffer-never-taken", [STOPPED, NO_BUFFER, RELIEVED, DONE], 5),
    ("shared-memory-never-taken", [STOPPED, NO_BUFFER, RELIEVED, DONE], 5),
    ("segments", [STOPPED, NO_BUFFER, RELIEVED], FEW),
    ("codecs", [STOPPED, NO_BUFFER, RELIEVED], FEW),
    ("secrets", [STOPPED, NO_BUFFER, RELIEVED], ROUNDS),
    ("normalized", [STOPPED, RELIEVED, NO_BUFFER, TOO_LONG], 3),
    ("url-pattern", [STOPPED, RELIEVED, NO_BUFFER, TOO_LONG, (400, r"URLPattern|pattern"), DONE], 3),
    ("expression", [STOPPED, RELIEVED, (400, r"Invalid regular expression"), DONE], 3),
    ("nested-blocks", [STOPPED, RELIEVED, (400, r"WebAssembly"), DONE], 3),
    ("base64", [STOPPED, RELIEVED, NO_BUFFER, TOO_LONG], 5),
    ("text-and-buffer", [STOPPED, RELIEVED, NO_BUFFER, TOO_LONG], ROUNDS),
    ("long-text-kept", [STOPPED, RELIEVED], 5),
    ("list-format", [STOPPED, RELIEVED, TOO_LONG], 3),
    ("bodies-unread", [STOPPED, NO_BUFFER, (400, r"limit|[Tt]oo many"), DONE], ROUNDS),
    ("values-at-once", [STOPPED, RELIEVED, NO_BUFFER], 2),
    ("vectors-at-once", [STOPPED, RELIEVED, NO_BUFFER, (400, r"VECTOR_|[Oo]ut of memory"), DONE], 2),
    ("views", [STOPPED, RELIEVED, NO_BUFFER, OUT_OF_SQL], 5),
]


class MemoryGroup:
    """A control group of the first or the second version."""

    FIRST = (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        ("memory.memsw.limit_in_bytes", GROUP_BYTES),
        "memory.oom_control",
    )
    SECOND = ("/sys/fs/cgroup", "memory.max", ("memory.swap.max", 0), "memory.events")

    def __init__(self):
        reasons = []
        for root, limit, (swap, swap_bytes), events in (self.FIRST, self.SECOND):
            self.folder = pathlib.Path(root, f"aerostack-attack-{os.getpid()}-{time.monotonic_ns()}")
            try:
                self.folder.mkdir()
                (self.folder / limit).write_text(str(GROUP_BYTES))
                # Not everywhere is swap counted.
                with contextlib.suppress(OSError):
                    (self.folder / swap).write_text(str(swap_bytes))
                self.events = self.folder / events
                return
            except OSError as error:
                reasons.append(str(error))
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
        raise OSError("; ".join(reasons))

    def prefix(self, output=""):
        return ["sh", "-c", f'echo $$ > "{self.folder}/cgroup.procs" && exec "$@" {output}', "sh"]

    def kills(self):
        return int(re.search(r"^oom_kill (\d+)", self.events.read_text(), re.MULTILINE).group(1))

    def remove(self):
        kit.wait_for(lambda: not self.folder.exists() or self._removed(), 5)

    def _removed(self):
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return not self.folder.exists()


class Machine:
    """A server in a group of its own, started again when an attack has ended it."""

    def __init__(self, output=""):
        self.output = output
        self.project = kit.Project({
            "aerostack.toml": CONFIG,
            "src/index.ts": "export { default } from './attacks.js'",
            "src/accomplice.js": "export { default } from './attacks.js'",
            "src/attacks.js": ATTACKS,
            "src/neighbour.js": NEIGHBOUR,
            "src/busy.js": BUSY,
            "src/taking.js": TAKING,
        })
        self.start()

    def start(self):
        self.group = MemoryGroup()
        self.server = self.project.run("dev", prefix=self.group.prefix(self.output))

    def is_alive(self):
        return self.server.process.poll() is None and self.group.kills() == 0

    def revive(self):
        if not self.is_alive():
            self.end()
            self.start()

    def end(self):
        self.server.process.kill()
        self.server.process.wait()
        self.group.remove()

    def request(self, path, timeout=60):
        """The status and the text; 0 and the reason where there is no answer."""
        try:
            response = self.server.get(path, timeout=timeout)
            return response.status, response.content.decode(errors="replace")
        except Exception as error:  # Connections fail in many ways, and each is an answer that did not come.
            return 0, f"{type(error).__name__} {error}"

    def cpu_seconds(self, thread):
        """Of one thread; nothing where it has ended."""
        try:
            fields = pathlib.Path(f"/proc/{self.server.pid}/task/{thread}/stat").read_text().rsplit(") ", 1)[1].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def resources(self):
        return self.server.resident_mb(), self.server.threads(), self.server.descriptors()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        self.project.__exit__()


class Neighbour:
    """Asks a route again and again while the block runs."""

    def __init__(self, machine, path="/neighbour"):
        self.machine, self.path = machine, path
        self.slowest, self.answers, self.wrong = 0.0, 0, collections.Counter()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self):
        while not self.is_over.is_set():
            began = time.monotonic()
            status, text = self.machine.request(self.path)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.answers += 1
            if (status, text) != (200, "unharmed"):
                self.wrong[f"{status} {text[:120]}"] += 1
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join(65)

    def is_unharmed(self, seconds=NEIGHBOUR_SECONDS, mistakes=0):
        return self.answers > 0 and self.wrong.total() <= mistakes and self.slowest < seconds

    def __str__(self):
        return f"{self.answers} answers, the slowest after {self.slowest:.2f} s, {dict(self.wrong)} were none"


def is_one_of(ends, status, text):
    return any(status == expected and re.search(pattern, text) for expected, pattern in ends)


def repeated(machine, name, ends, rounds):
    """The rounds of one attack. What remains after the last is compared with what remained after the first."""
    after_first = None
    with Neighbour(machine) as neighbour:
        for number in range(rounds):
            status, text = machine.request(f"/{name}")
            if not machine.is_alive():
                kit.check(f"{name}: the process lives", False, f"round {number + 1}: {status} {text[:200]}")
                return
            if not is_one_of(ends, status, text):
                kit.check(f"{name}: ends in a named error", False, f"round {number + 1}: {status} {text[:200]}")
                break
            machine.request("/calls")
            after_first = after_first or machine.resources()
        else:
            kit.check(f"{name}: ends in a named error", True)
    kit.check(f"{name}: the neighbour is answered", neighbour.is_unharmed(), str(neighbour))
    if after_first:
        # Of the memory an isolate's limits together may be in use still, and the allocator keeps some.
        bounds = [bound + slack for bound, slack in zip(after_first, (384, 8, 64))]
        left = machine.resources
        kit.wait_for(lambda: all(now <= bound for now, bound in zip(left(), bounds)), 3)
        is_bounded = all(now <= bound for now, bound in zip(left(), bounds))
        kit.check(f"{name}: nothing adds up", is_bounded, f"MB, threads, descriptors: {after_first}, then {left()}")
    status, text = machine.request("/calls")
    kit.check(f"{name}: the next request is answered", (status, text) == (200, "called"), f"{status} {text[:200]}")


def endless(machine, name):
    """A built-in that V8 does not leave: its thread may be lost, a core may not be taken from others."""
    with Neighbour(machine) as neighbour:
        status, text = machine.request(f"/{name}")
    kit.check(f"{name}: ends in a named error", is_one_of([STOPPED], status, text), f"{status} {text[:200]}")
    kit.check(f"{name}: the neighbour is answered", neighbour.is_unharmed(), str(neighbour))

    def gives_way():
        """Whether every thread that has used a fifth of a core for a second runs with SCHED_IDLE."""
        threads = os.listdir(f"/proc/{machine.server.pid}/task")
        before = {thread: machine.cpu_seconds(thread) for thread in threads}
        time.sleep(1)
        busy = [thread for thread in threads if machine.cpu_seconds(thread) - before[thread] > 0.2]
        return all(os.sched_getscheduler(int(thread)) == os.SCHED_IDLE for thread in busy)

    kit.check(f"{name}: what is left of it takes no core from others", kit.wait_for(gives_way, 10), "a thread is busy")


def busy_neighbour(machine):
    """A neighbour that works for long is not stopped for what the attacker takes."""
    with Neighbour(machine, "/busy") as busy:
        time.sleep(0.3)
        status, text = machine.request("/messages-in-short-turns")
    is_told = is_one_of([STOPPED, NO_BUFFER, RELIEVED], status, text)
    kit.check("busy: the attacker is told", is_told, f"{status} {text[:200]}")
    kit.check("busy: the neighbour is not stopped", busy.is_unharmed(30), str(busy))


def innocent(machine, path, mistakes=0):
    """A neighbour that takes what its limits allow is not stopped for what another holds, or has left behind. Nobody
    can tell who holds what V8 does not count: `mistakes` of its requests may fail before the right one is found."""
    came_to = [machine.request(path)[0] for _ in range(3)]
    with Neighbour(machine, "/taking") as neighbour:
        time.sleep(5)
    is_unharmed = neighbour.is_unharmed(mistakes=mistakes)
    kit.check(f"after {path}: a neighbour is not stopped", is_unharmed, f"after {came_to}: {neighbour}")


def accomplice(machine):
    """While one isolate cannot be stopped, another is."""
    machine.request("/accomplice/calls")
    machine.request("/calls")
    with Neighbour(machine) as neighbour:
        ending = threading.Thread(target=machine.request, args=("/accomplice/includes-endless",))
        ending.start()
        # Its time is over, and the five seconds are not that it has to see so.
        time.sleep(4)
        status, text = machine.request("/messages-in-a-long-turn")
        ending.join()
    lives = machine.is_alive()
    kit.check("accomplice: the process lives", lives, f"{status} {text[:200]}")
    is_told = is_one_of([STOPPED, NO_BUFFER, RELIEVED], status, text)
    kit.check("accomplice: the attacker is told", is_told, f"{status} {text[:200]}")
    kit.check("accomplice: the neighbour is answered", neighbour.is_unharmed(), str(neighbour))


def start_over(machine):
    """Heaps that are lost end in a restart that no client notices, whatever stream somebody has open."""
    with Neighbour(machine) as neighbour, machine.server.connect(60) as stream:
        stream.sendall(b"GET /accomplice/stream HTTP/1.1\r\nHost: a.test\r\n\r\n")
        stream.recv(1000)
        for _ in range(4):
            machine.request("/nested-blocks")
            if "starting over" in machine.server.log():
                break
        kit.wait_for(lambda: machine.server.log().count("ready http://") > 1 or not machine.is_alive(), 40)
    kit.check("start over: the process lives", machine.is_alive())
    kit.check("start over: it did", "starting over" in machine.server.log(), "nothing was lost")
    kit.check("start over: the neighbour notices nothing", neighbour.is_unharmed(10), str(neighbour))


def slow_terminal():
    """Lines that the terminal has not taken yet are bounded, and nobody else waits for room."""
    folder = pathlib.Path(kit.tempfile.mkdtemp(prefix="aerostack-attack-"))
    pipe = folder / "output"
    os.mkfifo(pipe)
    is_over = threading.Event()

    def read():
        with open(pipe, "rb", buffering=0) as output:
            # What starts is read at once; then two megabytes a second.
            while not is_over.is_set() and output.read(20_000):
                time.sleep(0.01)

    threading.Thread(target=read, daemon=True).start()
    try:
        with Machine(f'> "{pipe}" 2>&1') as machine, Neighbour(machine) as neighbour:
            before = machine.server.resident_mb()

            def ask():
                for _ in range(300):
                    machine.request("/line")

            clients = [threading.Thread(target=ask) for _ in range(8)]
            for client in clients:
                client.start()
            most = before
            while any(client.is_alive() for client in clients) and machine.is_alive() and most < before + 500:
                most = max(most, machine.server.resident_mb())
                time.sleep(0.1)
            is_over.set()
            are_bounded = most < before + 256
            kit.check("terminal: waiting lines are bounded", are_bounded, f"{before:.0f} MB, then {most:.0f} MB")
            kit.check("terminal: the neighbour is answered", neighbour.is_unharmed(), str(neighbour))
            kit.check("terminal: the process lives", machine.is_alive())
    finally:
        is_over.set()
        kit.shutil.rmtree(folder, ignore_errors=True)


def takers_of_nothing(machine, name, count, most_mb):
    """Clients that ask, and take nothing of their answers."""
    before, clients = machine.server.resident_mb(), []
    with Neighbour(machine) as neighbour:
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(10)
            with contextlib.suppress(OSError):
                client.connect(("127.0.0.1", machine.server.port))
                client.sendall(f"GET /{name} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            clients.append(client)
        time.sleep(5)
        lives, now = machine.is_alive(), machine.server.resident_mb()
        for client in clients:
            client.close()
    kit.check(f"{name}: the process lives", lives)
    is_bounded = now < before + most_mb
    kit.check(f"{name}: what waits for {count} clients is bounded", is_bounded, f"{before:.0f} MB, then {now:.0f} MB")
    kit.check(f"{name}: the neighbour is answered", neighbour.is_unharmed(), str(neighbour))


def lines_of_an_error(machine):
    """What an invocation logs is bounded by log_kb, the error it ends with included."""
    before = len(machine.server.log())
    status, _ = machine.request("/errors")
    kit.wait_for(lambda: "/errors 500" in machine.server.log(), 5)
    logged = len(machine.server.log()) - before
    is_short = status == 500 and logged < 512 * 1024
    kit.check("errors: one is logged with at most 512 kB", is_short, f"{status}, {logged} bytes")


def descriptors():
    """Bodies that one worker does not read leave descriptors to the others."""
    setup = kit.Project({
        "aerostack.toml": CONFIG,
        "src/index.ts": "export { default } from './attacks.js'",
        "src/accomplice.js": NEIGHBOUR,
        "src/attacks.js": ATTACKS,
        "src/busy.js": NEIGHBOUR,
        "src/taking.js": NEIGHBOUR,
        "src/neighbour.js": "export default { async fetch(_, { STORAGE }) { await STORAGE.put('n', 'x');"
        " return new Response('unharmed') } };",
    })
    with setup, setup.run("dev", prefix=["prlimit", "--nofile=1024:1024"]) as server:
        for _ in range(3):
            with contextlib.suppress(OSError):
                server.get("/bodies-unread", timeout=30)
        answers = [server.get("/neighbour", timeout=30) for _ in range(10)]
        wrong = [answer.content[:120] for answer in answers if answer.content != b"unharmed"]
        kit.check("descriptors: a neighbour can store", not wrong, f"{len(wrong)} of 10 cannot: {wrong[:1]}")


def main():
    try:
        MemoryGroup().remove()
    except OSError as error:
        print(f"skipped: no memory cgroup can be made here: {error}")
        return 0
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    wanted = sys.argv[1:]
    with Machine() as machine:
        attacks = {
            "start-over": lambda: start_over(machine),
            "busy": lambda: busy_neighbour(machine),
            "accomplice": lambda: accomplice(machine),
            "holder": lambda: innocent(machine, "/hold", mistakes=1),
            "left-behind": lambda: innocent(machine, "/segments"),
            "brotli": lambda: takers_of_nothing(machine, "brotli", 400, 256),
            "errors": lambda: takers_of_nothing(machine, "errors", 60, 256),
            "lines": lambda: lines_of_an_error(machine),
            "descriptors": descriptors,
            "terminal": slow_terminal,
        }
        for name, ends, rounds in REPEATED:
            attacks[name] = lambda name=name, ends=ends, rounds=rounds: repeated(machine, name, ends, rounds)
        # Last: what they leave would be counted with the others.
        for name in ("includes-endless", "last-index-endless"):
            attacks[name] = lambda name=name: endless(machine, name)
        for name, attack in attacks.items():
            if wanted and name not in wanted:
                continue
            machine.revive()
            attack()
            # Each begins with a process that owes nothing.
            machine.end()
            machine.start()
    return kit.finish()


if __name__ == "__main__":
    sys.exit(main())
