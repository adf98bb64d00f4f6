"""The servers that are compared, each from its npm package or our release binary, and how one is started and ended."""

import contextlib
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cases import CASES, CURVES, HERE, RECIPE, WORKERS

PEERS = HERE.parent / ".peers"
HOST = "127.0.0.1"

# name -> (npm package, version, the program inside the package for this platform)
PACKAGES = {
    "workerd": ("workerd", "1.20261117.1", "@cloudflare/workerd-linux-64/bin/workerd"),
    "deno": ("deno", "2.9.6", "@deno/linux-x64-glibc/deno"),
    "bun": ("bun", "1.4.5", "@oven/bun-linux-x64/bin/bun"),
}
# In a folder of its own: it brings another workerd.
MINIFLARE = {"miniflare": ("miniflare", "4.20260730.0", "miniflare/dist/src/index.js")}
MINIFLARE_PEERS = PEERS / "miniflare"
MIGRATION = RECIPE / "migrations" / "0001_create_items.sql"
START_LIMIT_S = 20
REQUEST_LIMIT_S = 30


@dataclass
class Server:
    """One program, and how it is started for each of the cases that it can serve."""

    name: str
    program: Path
    version: str
    cases: dict = field(repr=False)  # case -> function(port, folder) -> (arguments, working folder, environment)

    def serves(self, case):
        return case in self.cases


def say(text):
    print(text, file=sys.stderr, flush=True)


def install_peers(packages=PACKAGES, folder=PEERS):
    """Installs the pinned npm packages into the folder, once."""
    manifest = {"private": True, "dependencies": {package: version for package, version, _ in packages.values()}}
    text = json.dumps(manifest, indent=2) + "\n"
    programs = [folder / "node_modules" / program for _, _, program in packages.values()]
    if all(program.exists() for program in programs) and (folder / "package.json").read_text() == text:
        return
    if shutil.which("npm") is None:
        sys.exit("npm is needed to install the peers: apt-get install npm")
    say(f"installing {', '.join(f'{p}@{v}' for p, v, _ in packages.values())} into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(text)
    subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder,
        check=True,
        stdout=sys.stderr,
    )


def peer_program(name):
    return PEERS / "node_modules" / PACKAGES[name][2]


def default_binary():
    """What is shipped, as the peers' packages are."""
    target = os.environ.get("CARGO_TARGET_DIR")
    if target is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        target = Path(cache) / "aerostack" / "target"
    return Path(target) / "dist" / "aerostack"


def servers(binary, command):
    """Ours first where its binary exists, then the peers that are one program: see `miniflare` for the other."""
    found = []
    if binary.exists():
        start = partial(start_aerostack, binary, command)
        found.append(Server("aerostack", binary, version_of(binary), starts(start, lambda case: case.isolates == "one" or command == "serve")))
    else:
        say(f"aerostack is left out: there is no {binary} (`./x dist` makes it, --aerostack names another)")
    workerd, deno, bun = (peer_program(name) for name in ("workerd", "deno", "bun"))
    # workerd by itself has one thread, and neither a database nor a cache: those are built from other services around it.
    found.append(Server("workerd", workerd, version_of(workerd), starts(partial(start_workerd, workerd), lambda case: case.binding is None and case.isolates == "one")))
    found.append(Server("deno", deno, version_of(deno), starts(partial(start_deno, deno), lambda case: case.binding != "CACHE")))
    found.append(Server("bun", bun, version_of(bun), starts(partial(start_bun, bun), lambda case: case.binding != "CACHE")))
    return found


def miniflare():
    """What `wrangler dev` runs: workerd with a database and a cache. Installs it, once."""
    install_peers(MINIFLARE, MINIFLARE_PEERS)
    node = shutil.which("node")
    if node is None:
        sys.exit("node is needed to run miniflare: apt-get install nodejs")
    version = f"{MINIFLARE['miniflare'][1]} on Node.js {version_of(Path(node))}"
    return Server("miniflare", Path(node), version, starts(partial(start_miniflare, node), lambda case: case.binding is not None))


def starts(start, can_serve):
    """case -> how the server is started for it, of those that it can serve"""
    return {name: partial(start, case) for name, case in (CASES | CURVES).items() if can_serve(case)}


def start_aerostack(binary, command, case, port, folder):
    if not (folder / "aerostack.toml").exists():
        make_project(binary, case, folder)
    arguments = [binary, command, "--host", HOST, "--port", str(port)]
    if command == "serve":
        # A line for each request is what the peers do not write.
        arguments.append("--quiet")
        if case.isolates == "one":
            arguments += ["--isolates", "1"]
    return arguments, folder, {}


def make_project(binary, case, folder):
    """The case's worker as a project, with the tables of the recipe where it needs a database."""
    source = folder / "src" / f"index{case.worker.suffix}"
    source.parent.mkdir()
    shutil.copy(case.worker, source)
    (folder / "aerostack.toml").write_text(f'name = "bench"\nmain = "src/{source.name}"\n')
    if case.binding == "DB":
        shutil.copytree(MIGRATION.parent, folder / "migrations")
        # `serve` does not migrate.
        subprocess.run([binary, "db", "migrate", "apply"], cwd=folder, check=True, capture_output=True)


def start_workerd(workerd, case, port, folder):
    shutil.copy(case.worker, folder / "worker.js")
    shutil.copy(WORKERS / "worker.capnp", folder)
    return [workerd, "serve", folder / "worker.capnp", "--socket-addr", f"http={HOST}:{port}"], folder, {}


def start_deno(deno, case, port, folder):
    environment = {"WORKER": str(case.worker), "DATABASE_FILE": str(folder / "bench.sqlite"), "DENO_DIR": str(PEERS / "deno-dir"), "DENO_NO_UPDATE_CHECK": "1"}
    main = case.worker if case.binding is None else WORKERS / "database.deno.ts"
    parallel = ["--parallel"] if case.isolates == "cores" else []
    return [deno, "serve", *parallel, "--no-check", "--allow-all", "--host", HOST, "--port", str(port), main], WORKERS, environment


def start_bun(bun, case, port, folder):
    environment = {"WORKER": str(case.worker), "DATABASE_FILE": str(folder / "bench.sqlite"), "PORT": str(port), "NODE_ENV": "production"}
    plain = "plain.bun.js" if case.isolates == "one" else "cores.bun.js"
    return [bun, "run", WORKERS / (plain if case.binding is None else "database.bun.ts")], WORKERS, environment


def start_miniflare(node, case, port, folder):
    # It takes JavaScript only; Bun takes the types out.
    script = folder / "worker.mjs"
    subprocess.run([peer_program("bun"), "build", case.worker, "--outfile", script], check=True, capture_output=True)
    return [node, HERE / "miniflare.mjs", MINIFLARE_PEERS, HOST, str(port), script, folder / "state", MIGRATION], HERE, {}


def version_of(program):
    if not program.exists():
        sys.exit(f"{program} is not there: this comparison is set up for Linux on x86_64 with glibc")
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()


class Running:
    """A started server: its process id, its port, and what it said."""

    def __init__(self, server, case, folder):
        self.port = free_port()
        arguments, working_folder, environment = server.cases[case](self.port, folder)
        self.said = folder / f"{server.name}.log"
        with open(self.said, "ab") as log:
            self.began = time.perf_counter()
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                cwd=working_folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.name = server.name

    def wait_for_answer(self, path="/"):
        """Milliseconds from just before the process was made until the first bytes of its first answer were here."""
        request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close\r\n\r\n".encode()
        while time.perf_counter() - self.began < START_LIMIT_S:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection((HOST, self.port), timeout=START_LIMIT_S) as connection:
                    connection.sendall(request)
                    if connection.recv(1024):
                        return (time.perf_counter() - self.began) * 1000
            except OSError:
                pass
            # Polling without a pause would take one of the cores that the server starts on.
            time.sleep(0.0002)
        tail = self.said.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not answer on port {self.port} (exit status {self.process.poll()}); it said:\n{tail}")

    def request(self, method, path, body=None):
        """(status, body) of a request with JSON, or without a body"""
        if body is None:
            status, _, data = self.exchange(method, path)
        else:
            status, _, data = self.exchange(method, path, json.dumps(body).encode(), {"content-type": "application/json"})
        return status, data

    def exchange(self, method, path, body=None, headers={}):
        """(status, headers, body)"""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=REQUEST_LIMIT_S)
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.headers, data

    def resident_kib(self):
        """Resident memory of the process and its children, in KiB."""
        lines = [line for process in self.processes() for line in read_or_gone(process / "status").splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    def cpu_seconds(self):
        """Seconds that the process and its children have been on a core so far."""
        # The name of a program may hold spaces; what is counted from comes after its bracket.
        fields = [read_or_gone(process / "stat").rpartition(")")[2].split() for process in self.processes()]
        return sum(int(user) + int(system) for *_, user, system in (each[:13] for each in fields if each)) / os.sysconf("SC_CLK_TCK")

    def processes(self):
        """Their folders in /proc."""
        group = os.getpgid(self.process.pid)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(process.name)) == group:
                    yield process

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextlib.contextmanager
def running(server, case, folder):
    started = Running(server, case, folder)
    try:
        yield started
    finally:
        started.stop()


@contextlib.contextmanager
def scratch(around=None):
    folder = Path(tempfile.mkdtemp(prefix="aerostack-bench-", dir=around))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_or_gone(path):
    """The text of a file of /proc; nothing where its process has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_text()
    return ""


def free_port():
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def machine_facts(found):
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        f"- {os.cpu_count()} cores, {model}, {memory_gib:.0f} GiB, Linux {platform.release()}, load average {os.getloadavg()[0]:.2f} at the start",
    ]
    lines += [f"- {server.name}: {server.version}" for server in found]
    return "\n".join(lines)


def disk_facts(folder):
    """On what kind of file system the folder lies, and how long it takes to flush 16 KiB at the end of a file."""
    kind = subprocess.run(["stat", "--file-system", "--format=%T", folder], capture_output=True, text=True, check=True).stdout.strip()
    times = []
    with open(folder / "flush", "wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(16 * 1024))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return f"databases and caches lie on {kind}, where one flush takes {statistics.median(times):.2f} ms (median of 50)"
