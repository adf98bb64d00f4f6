"""What the servers are asked: one request a case, what has to be there before, and the check that its answer is right."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKERS = HERE / "workers"
RECIPE = HERE.parent.parent / "examples" / "rest-api"

MIB = 2**20
LISTED_ROWS = 50
# The rows that the curve of rows reads from, and its largest step.
FILLED_ROWS = 10_000
JSON = {"content-type": "application/json"}
ECHOED = json.dumps({"name": "Ada Lovelace", "active": True, "score": 12.5, "tags": ["one", "two"], "text": "t" * 933}).encode()
ITEM = {"name": "A new item", "description": "put in by the bench"}
ETAG = '"5f3a-61c9d1e2"'
CACHED_VALUE = b"v" * 1024


@dataclass(frozen=True)
class Case:
    """One request, asked again and again."""

    worker: Path
    path: str
    # Called with the case and a started server: raises where the answer is not right.
    check: Callable = field(repr=False)
    method: str = "GET"
    headers: dict = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    # The binding that the worker needs: `DB`, `CACHE`, or none.
    binding: str | None = None
    # How many isolates, or processes, a server may use: `one`, or one for each of the `cores`.
    isolates: str = "one"
    # Called with a started server, before the check.
    prepare: Callable = field(default=lambda started: None, repr=False)

    def make_ready(self, started):
        """Waits for the server and makes what the case needs; ends the bench where the answer is wrong."""
        started.wait_for_answer()
        self.prepare(started)
        self.check(self, started)

    def ask(self, started):
        """(status, headers, body)"""
        return started.exchange(self.method, self.path, self.body, self.headers)


def expect(started, what, found, expected):
    if found != expected:
        raise RuntimeError(f"{started.name}: {what} is {str(found)[:200]} and should be {str(expected)[:200]}")


def answers(body):
    """A check: the status is 200 and the body is this."""

    def check(case, started):
        status, _, found = case.ask(started)
        expect(started, "the status", status, 200)
        expect(started, "the length of the answer", len(found), len(body))
        expect(started, "the answer", found, body)

    return check


def check_echo(case, started):
    status, headers, body = case.ask(started)
    expect(started, "the status", status, 200)
    expect(started, "the type of the answer", headers["content-type"].split(";")[0], "application/json")
    expect(started, "the answer", json.loads(body), json.loads(ECHOED))


def check_not_modified(case, started):
    status, headers, body = case.ask(started)
    expect(started, "the status", status, 304)
    expect(started, "the etag", headers["etag"], ETAG)
    expect(started, "the body", body, b"")
    status, _, body = started.exchange("GET", case.path)
    expect(started, "the answer without if-none-match", (status, body), (200, b"the current version"))


def fill_items(started):
    """By the recipe's own POST."""
    for number in range(LISTED_ROWS):
        body = json.dumps({"name": f"Item {number}", "description": "one of fifty rows"}).encode()
        status, _, data = started.exchange("POST", "/api/items", body, JSON)
        expect(started, f"the status of POST /api/items ({data[:200]!r})", status, 201)


def check_items(case, started):
    status, _, body = case.ask(started)
    expect(started, "the status", status, 200)
    names = sorted(row["name"] for row in json.loads(body))
    expect(started, "the list", names, sorted(f"Item {number}" for number in range(LISTED_ROWS)))


def check_item(case, started):
    status, _, body = case.ask(started)
    expect(started, "the status", status, 200)
    row = json.loads(body)
    expect(started, "the item", (row["id"], row["name"]), (25, "Item 24"))


def check_insert(case, started):
    status, _, body = case.ask(started)
    expect(started, "the status", status, 201)
    made = json.loads(body)
    expect(started, "the row made", (made["name"], made["description"]), (ITEM["name"], ITEM["description"]))
    status, _, body = started.exchange("GET", f"/api/items/{made['id']}")
    expect(started, "the row read back", (status, json.loads(body)), (200, made))


def fill_cache(started):
    """Every key that the worker takes in turn."""
    for _ in range(100):
        CASES["cache-put"].check(CASES["cache-put"], started)


def check_cached(case, started):
    status, _, body = case.ask(started)
    expect(started, "the status", status, 200)
    expect(started, "the value", body.lstrip(b"0123456789 "), CACHED_VALUE)


def check_put(case, started):
    status, _, key = case.ask(started)
    expect(started, "the status", status, 200)
    status, _, body = started.exchange("GET", f"/read/{key.decode()}")
    expect(started, "the value read back", (status, body.lstrip(b"0123456789 ")), (200, CACHED_VALUE))


def fill_rows(started):
    status, _, body = started.exchange("POST", f"/{FILLED_ROWS}")
    expect(started, "the answer to filling the table", (status, body), (200, b"filled"))


def check_rows(case, started):
    status, _, body = case.ask(started)
    expect(started, "the status", status, 200)
    count = int(case.path.removeprefix("/"))
    expect(started, "the rows", [row["name"] for row in json.loads(body)], [f"Item {number + 1}" for number in range(count)])


def check_bytes(case, started):
    answers(case.body)(case, started)


def plain(worker, check, **more):
    return Case(WORKERS / worker, "/", check, **more)


def recipe(path, check, **more):
    return Case(RECIPE / "src" / "index.ts", path, check, binding="DB", prepare=fill_items, **more)


def cache(path, check, **more):
    return Case(WORKERS / "cache.js", path, check, binding="CACHE", **more)


CASES = {
    "hello": plain("hello.js", answers(b"Hello, world!")),
    "hello-cores": plain("hello.js", answers(b"Hello, world!"), isolates="cores"),
    "echo": plain("echo.js", check_echo, method="POST", headers=JSON, body=ECHOED),
    "stream": plain("stream.js", answers(b"a" * MIB)),
    "upload": plain("upload.js", answers(str(MIB).encode()), method="POST", body=b"u" * MIB),
    "headers": plain("not-modified.js", check_not_modified, headers={"if-none-match": ETAG}),
    "items": recipe("/api/items", check_items),
    "item": recipe("/api/items/25", check_item),
    "insert": recipe("/api/items", check_insert, method="POST", headers=JSON, body=json.dumps(ITEM).encode()),
    "cache-get": cache("/get", check_cached, prepare=fill_cache),
    "cache-put": cache("/put", check_put, method="POST"),
}

# The first step of a curve each: `growth` asks with other paths and bodies.
CURVES = {
    "rows": Case(WORKERS / "rows.ts", "/1", check_rows, binding="DB", prepare=fill_rows),
    "bytes": plain("bytes.js", check_bytes, method="POST", body=b"b" * 1024),
}
