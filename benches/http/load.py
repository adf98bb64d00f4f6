"""The client: wrk, told what to ask by a case, and what it and the server spent meanwhile."""

import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass

import servers


@dataclass(frozen=True)
class Load:
    # Requests answered a second.
    rate: float
    p50_ms: float
    p99_ms: float
    # Cores that were busy on average: 1.0 is one core all the time.
    server_cores: float
    client_cores: float
    # Requests answered for each second that the server was on a core.
    rate_a_core: float


def require_wrk():
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    # One descriptor a connection, for the client and for the servers.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def wrk(started, case, seconds, connections):
    headers = [argument for name, value in case.headers.items() for argument in ("-H", f"{name}: {value}")]
    url = f"http://{servers.HOST}:{started.port}{case.path}"
    with servers.scratch() as folder:
        said = [case.method]
        if case.body is not None:
            (folder / "body").write_bytes(case.body)
            said.append(folder / "body")
        script = servers.HERE / "request.lua"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s", script, *headers, url, "--", *said]
        server_before, client_before, began = started.cpu_seconds(), children_cpu_seconds(), time.perf_counter()
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
        took = time.perf_counter() - began
        server, client = started.cpu_seconds() - server_before, children_cpu_seconds() - client_before
    for trouble in ("Non-2xx", "Socket errors"):
        if trouble in output:
            raise RuntimeError(f"{started.name} failed under load:\n{output}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    requests = int(re.search(r"(\d+) requests in", output)[1])
    return Load(rate, latency_ms(output, "50%"), latency_ms(output, "99%"), server / took, client / took, requests / server)


def children_cpu_seconds():
    """Of the processes that have ended: the client is one as soon as it is read here."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def latency_ms(output, percentile):
    value, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)\b", output).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
