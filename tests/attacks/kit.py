"""What the attack scripts share: a project in a temporary folder, the binary that serves it, and counted checks.

    with kit.Project({"src/index.ts": "..."}) as project, project.run("dev") as server:
        with server.connect() as socket:
            socket.sendall(b"GET / HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n")
            kit.check("answers", kit.read_response(socket).status == 200)
    sys.exit(kit.finish())

AEROSTACK_BIN names the binary (default: `aerostack` on the PATH). Everything stays on loopback. Standard library only.
"""

import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

BINARY = os.environ.get("AEROSTACK_BIN", "aerostack")
START_SECONDS = 60
STOP_SECONDS = 45

_failures = []
_checks = 0


def check(name, passed, detail=""):
    """Counts a check and prints its line. Returns `passed`, so that a caller can stop early."""
    global _checks
    _checks += 1
    if not passed:
        _failures.append(name)
    print(f"{'ok  ' if passed else 'FAIL'} {name}{f': {detail}' if detail and not passed else ''}", flush=True)
    return passed


def finish():
    """Prints the count and returns the exit status. A script without a single check fails."""
    print(f"{_checks - len(_failures)} of {_checks} checks passed", flush=True)
    return 0 if _checks and not _failures else 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds=10.0, every=0.05):
    """Polls until `condition()` is true. Returns its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(every)
    return value


def read_response(connection, method="GET"):
    """Reads one response from a socket: an `http.client.HTTPResponse` with its body in `.content`."""
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    response.content = response.read()
    return response


class Project:
    """A project in a temporary folder. `files` maps paths to texts; an `aerostack.toml` is added if there is none."""

    def __init__(self, files):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="aerostack-attack-"))
        for path, text in {"aerostack.toml": 'name = "attack"\n', **files}.items():
            self.write(path, text)

    def write(self, path, text):
        """Replaces a file at once, as editors do, so that a reload never sees half of it."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(target.name + ".draft")
        draft.write_text(text)
        draft.replace(target)

    def run(self, command, *arguments, environment=None, prefix=()):
        """Starts `aerostack COMMAND`. `prefix` is put before the binary (`["prlimit", ...]`)."""
        return Server(self.folder, command, arguments, environment or {}, prefix)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


class Server:
    """A running binary. Leaving its `with` block stops it with SIGTERM and checks that it ended by itself."""

    def __init__(self, folder, command, arguments, environment, prefix):
        self.port = free_port()
        self.log_path = folder / f"{command}-{self.port}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*prefix, BINARY, command, "--port", str(self.port), *arguments],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environment},
            )
        self.pid = self.process.pid
        if not wait_for(self.is_ready, START_SECONDS):
            self.process.kill()
            raise RuntimeError(f"the server did not start:\n{self.log()}")

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log()}")
        try:
            return self.get("/_aerostack/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def connect(self, timeout=10.0):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def get(self, path, headers=None, timeout=10.0):
        return self.request("GET", path, None, headers, timeout)

    def request(self, method, path, body=None, headers=None, timeout=10.0):
        """One request on a connection of its own; the body of the answer is in `.content`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            response.content = response.read()
            return response
        finally:
            connection.close()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def resident_mb(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self):
        """Sends SIGTERM and returns the seconds until the end, or None if the process had to be killed."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
            return time.monotonic() - began
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        alive = self.process.poll() is None
        seconds = self.stop()
        if kind is None:
            detail = f"exit status {self.process.returncode}\n{self.log()[-2000:]}"
            check("the process outlives the attack", alive, detail)
            check("the process ends on SIGTERM", seconds is not None, f"killed after {STOP_SECONDS} s")
