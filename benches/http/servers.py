"""The servers that are compared, each from its npm package or our release binary, and how one is started and ended."""

import contextlib
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORKERS = HERE / "workers"
RECIPE = ROOT / "examples" / "rest-api"
PEERS = HERE.parent / ".peers"
HOST = "127.0.0.1"

# name -> (npm package, version, the program inside the package for this platform)
PACKAGES = {
    "workerd": ("workerd", "1.20261117.1", "@cloudflare/workerd-linux-64/bin/workerd"),
    "deno": ("deno", "2.9.6", "@deno/linux-x64-glibc/deno"),
    "bun": ("bun", "1.4.5", "@oven/bun-linux-x64/bin/bun"),
}
START_LIMIT_S = 20
REQUEST_LIMIT_S = 30


@dataclass
class Server:
    """One program under one case (`hello` or `items`)."""

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
    target = os.environ.get("CARGO_TARGET_DIR")
    if target is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        target = Path(cache) / "aerostack" / "target"
    return Path(target) / "release" / "aerostack"


def servers(binary, command):
    """Ours first where its binary exists, then the peers."""
    found = []
    if binary.exists():
        found.append(Server("aerostack", binary, version_of(binary), aerostack_cases(binary, command)))
    else:
        say(f"aerostack is left out: there is no {binary} (`./x build` makes it, --aerostack names another)")
    workerd, deno, bun = (peer_program(name) for name in ("workerd", "deno", "bun"))

    def run_workerd(port, _folder):
        return [workerd, "serve", WORKERS / "hello.capnp", "--socket-addr", f"http={HOST}:{port}"], WORKERS, {}

    def run_deno(file):
        def run(port, folder):
            environment = {"DATABASE_FILE": str(folder / "items.sqlite"), "DENO_DIR": str(PEERS / "deno-dir"), "DENO_NO_UPDATE_CHECK": "1"}
            return [deno, "serve", "--no-check", "--allow-all", "--host", HOST, "--port", str(port), WORKERS / file], WORKERS, environment
        return run

    def run_bun(file):
        def run(port, folder):
            return [bun, "run", WORKERS / file], WORKERS, {"PORT": str(port), "DATABASE_FILE": str(folder / "items.sqlite"), "NODE_ENV": "production"}
        return run

    # workerd by itself has no D1: that is built from other services of Cloudflare's around it.
    found.append(Server("workerd", workerd, version_of(workerd), {"hello": run_workerd}))
    found.append(Server("deno", deno, version_of(deno), {"hello": run_deno("hello.js"), "items": run_deno("items.deno.ts")}))
    found.append(Server("bun", bun, version_of(bun), {"hello": run_bun("hello.bun.js"), "items": run_bun("items.bun.ts")}))
    return found


def aerostack_cases(binary, command):
    def run(port, folder):
        return [binary, command, "--host", HOST, "--port", str(port)], folder, {}

    def hello(port, folder):
        if not (folder / "aerostack.toml").exists():
            (folder / "src").mkdir()
            shutil.copy(WORKERS / "hello.js", folder / "src" / "index.js")
            (folder / "aerostack.toml").write_text('name = "hello"\nmain = "src/index.js"\n')
        return run(port, folder)

    def items(port, folder):
        if not (folder / "aerostack.toml").exists():
            shutil.copytree(RECIPE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".aerostack"))
        return run(port, folder)

    return {"hello": hello, "items": items}


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
        connection = http.client.HTTPConnection(HOST, self.port, timeout=REQUEST_LIMIT_S)
        headers = {} if body is None else {"content-type": "application/json"}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data

    def resident_kib(self):
        """Resident memory of the process and its children, in KiB."""
        group = os.getpgid(self.process.pid)
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(status.parent.name)) == group:
                    total += sum(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return total

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


def fill_items(server):
    """Puts 50 rows in, by the recipe's own POST, and checks that the list has them."""
    for number in range(50):
        status, data = server.request("POST", "/api/items", {"name": f"Item {number}", "description": "one of fifty rows"})
        if status != 201:
            raise RuntimeError(f"{server.name}: POST /api/items answered {status}: {data[:200]!r}")
    status, data = server.request("GET", "/api/items")
    rows = json.loads(data)
    if status != 200 or len(rows) != 50:
        raise RuntimeError(f"{server.name}: GET /api/items answered {status} with {len(rows)} rows")


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
