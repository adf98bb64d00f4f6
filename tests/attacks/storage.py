#!/usr/bin/env python3
"""Attacks on what D1, KV, R2 and queues promise: functions of SQL, conflicts among many clients, clones, long texts.

    AEROSTACK_BIN=target/release/aerostack tests/attacks/storage.py
"""

import json
import random
import sys
import threading

import kit

# A request is a list of steps: [binding, method, ...arguments], or ["DB", "batch", [[sql, ...parameters], ...]].
WORKER = """
const query = (env, [sql, ...parameters]) => env.DB.prepare(sql).bind(...parameters);
const specials = {
  "clone binding": (env, name) => structuredClone(env[name]),
  "clone statement": (env) => structuredClone(env.DB.prepare("SELECT 1")),
  "clone object": async (env) => structuredClone(await env.STORAGE.put("clone", "x")),
  "send env": (env) => env.QUEUE.send(env, { contentType: "v8" }),
  "long storage class": (env) => env.STORAGE.put("k", "v", { storageClass: "\\u00e9".repeat(2.7e8) }),
  "long key": (env) => env.STORAGE.get("\\u00e9".repeat(2.7e8)),
  "long cache key": (env) => env.CACHE.get("\\u00e9".repeat(2.7e8)),
  "long type": (env) => env.QUEUE.send("x", { contentType: "\\u00e9".repeat(2.7e8) }),
};
async function step(env, [binding, method, ...rest]) {
  if (binding === "special") return void await specials[method](env, ...rest) ?? "done";
  if (binding !== "DB") return await env[binding][method](...rest);
  if (method === "batch") return (await env.DB.batch(rest[0].map((one) => query(env, one)))).map((one) => one.results);
  if (method === "exec") return (await env.DB.exec(rest[0])).count;
  return (await query(env, rest).all()).results;
}
export default {
  async fetch(request, env) {
    const answers = [];
    for (const one of await request.json()) {
      try { answers.push({ value: await step(env, one) ?? null }); }
      catch (error) { answers.push({ error: `${error.name}: ${error.message}`.slice(0, 300) }); }
    }
    return Response.json(answers);
  },
};
"""

CLIENTS = 12
CALLS = 40
GRACE_SECONDS = 8


def ask(server, *steps):
    """The outcome of each step: `{"value": ...}` or `{"error": ...}`. One `None` if the server gave no such answer."""
    response = server.request("POST", "/", json.dumps(steps), timeout=60)
    return json.loads(response.content) if response.status == 200 else [None] * len(steps)


def value(outcome):
    return outcome.get("value") if outcome else None


def functions_of_the_last_write(server):
    tables = "CREATE TABLE account (id INTEGER PRIMARY KEY, version INT);\nCREATE TABLE audit (changed, last);"
    ask(server, ["DB", "exec", tables])
    ask(server, ["DB", "run", "INSERT INTO account VALUES (1, 1), (2, 1)"])
    # Each text is new to the connection the first time, and known to it the second time.
    for turn in ("first", "second"):
        guarded = "INSERT INTO audit SELECT changes(), last_insert_rowid() WHERE changes() = 2 RETURNING changed"
        [outcome] = ask(server, ["DB", "batch", [["UPDATE account SET version = version + 1"], [guarded]]])
        kit.check(f"changes() guards an insert, {turn} time", value(outcome) == [[], [{"changed": 2}]], outcome)
        guarded = "INSERT INTO audit SELECT 'no', 0 WHERE changes() > 0 RETURNING changed"
        [outcome] = ask(server, ["DB", "batch", [["UPDATE account SET version = 9 WHERE id = 77"], [guarded]]])
        kit.check(f"changes() is 0 after an update that met nothing, {turn} time", value(outcome) == [[], []], outcome)
        ask(server, ["DB", "run", "UPDATE account SET version = version + 1"])
        [outcome] = ask(server, ["DB", "run", "UPDATE account SET version = changes() WHERE id = 1 RETURNING version"])
        kit.check(f"changes() tells of the call before, {turn} time", value(outcome) == [{"version": 2}], outcome)
    child = "INSERT INTO audit VALUES ('child', last_insert_rowid()) RETURNING last"
    [outcome] = ask(server, ["DB", "batch", [["INSERT INTO account VALUES (40, 1)"], [child]]])
    kit.check("last_insert_rowid() is the parent's", value(outcome) == [[], [{"last": 40}]], outcome)


def reports_on_the_schema(server):
    ask(server, ["DB", "exec", "CREATE TABLE report (id INTEGER PRIMARY KEY, name TEXT UNIQUE, other)"])
    for statement, names in [
        ("CREATE INDEX report_other ON report (other)", {"report_other", "sqlite_autoindex_report_1"}),
        ("DROP INDEX report_other", {"sqlite_autoindex_report_1"}),
    ]:
        _, outcome = ask(server, ["DB", "run", statement], ["DB", "run", "PRAGMA index_list(report)"])
        kit.check(f"index_list after {statement}", {row["name"] for row in value(outcome) or []} == names, outcome)
        [outcome] = ask(server, ["DB", "run", "EXPLAIN QUERY PLAN SELECT * FROM report WHERE other = 1"])
        uses = "report_other" in json.dumps(outcome)
        kit.check(f"the plan after {statement}", uses == ("report_other" in names), outcome)


def conflicts_among_clients(server):
    """Batches, conflicts that roll back, and inserts at once: what was acknowledged is there, what failed is not."""
    for statement in (
        "CREATE TABLE money (id INTEGER PRIMARY KEY, n INT CHECK (n >= 0))",
        "CREATE TABLE unique_ones (a UNIQUE)",
        "INSERT INTO money VALUES (1, 1000), (2, 0)",
        "INSERT INTO unique_ones VALUES ('taken')",
    ):
        ask(server, ["DB", "run", statement])
    move = [["UPDATE money SET n = n - 1 WHERE id = 1"], ["UPDATE money SET n = n + 1 WHERE id = 2"]]
    moved, kept, undone, torn, lock = [], set(), set(), [], threading.Lock()

    def client(number):
        chance = random.Random(number)
        for call in range(CALLS):
            name, kind = f"{number}-{call}", chance.randrange(6)
            insert = ["INSERT INTO unique_ones VALUES (?)", name]
            steps = {
                0: ["DB", "batch", move],
                1: ["DB", "batch", [*move, ["NOT SQL"]]],
                2: ["DB", "run", *insert],
                3: ["DB", "run", "INSERT OR FAIL INTO unique_ones VALUES (?), ('taken')", name],
                4: ["DB", "batch", [insert, ["INSERT OR ROLLBACK INTO unique_ones VALUES ('taken')"]]],
                5: ["DB", "run", "SELECT sum(n) AS all_money FROM money"],
            }
            [outcome] = ask(server, steps[kind])
            with lock:
                if kind == 0 and "value" in outcome:
                    moved.append(name)
                if kind == 2 and "value" in outcome:
                    kept.add(name)
                if kind in (3, 4):
                    undone.add(name)
                if kind == 5 and value(outcome) != [{"all_money": 1000}]:
                    torn.append(outcome)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [accounts] = ask(server, ["DB", "run", "SELECT n FROM money ORDER BY id"])
    [rows] = ask(server, ["DB", "run", "SELECT a FROM unique_ones"])
    there = {row["a"] for row in value(rows) or []}
    right = [{"n": 1000 - len(moved)}, {"n": len(moved)}]
    kit.check("money moved as often as it was acknowledged", value(accounts) == right, accounts)
    kit.check("no sum is torn", not torn, torn[:3])
    kit.check("every acknowledged insert is there", kept <= there, sorted(kept - there)[:5])
    kit.check("nothing of a failed statement or batch is there", not undone & there, sorted(undone & there)[:5])


def clones(server):
    refused = "DataCloneError"
    steps = [["special", "clone binding", name] for name in ("DB", "CACHE", "STORAGE", "QUEUE", "VECTORIZE", "AI")]
    steps += [["special", "clone statement"], ["special", "clone object"], ["special", "send env"]]
    for one, outcome in zip(steps, ask(server, *steps)):
        kit.check(f"{' '.join(one[1:])} is refused", str((outcome or {}).get("error")).startswith(refused), outcome)


def long_texts(server):
    """Texts of more bytes than the longest string of V8: a request may fail, the process may not."""
    for name in ("long key", "long cache key", "long type", "long storage class"):
        try:
            server.request("POST", "/", json.dumps([["special", name]]), timeout=60)
        except OSError:
            pass
        except Exception as error:  # a connection that was closed without an answer
            print(f"     {name}: {type(error).__name__}")
        # The call may go on after its request was answered with 503.
        ended = kit.wait_for(lambda: server.process.poll() is not None, GRACE_SECONDS)
        if not kit.check(f"{name}: the process goes on", not ended and is_serving(server), server.log()[-600:]):
            return


def is_serving(server):
    try:
        return server.get("/_aerostack/ready").status == 200
    except Exception:
        return False


def main():
    with kit.Project({"src/index.js": WORKER, "aerostack.toml": 'name = "attack"\nmain = "src/index.js"\n'}) as project:
        with project.run("dev") as server:
            functions_of_the_last_write(server)
            reports_on_the_schema(server)
            conflicts_among_clients(server)
            clones(server)
        with project.run("dev") as server:
            long_texts(server)
    return kit.finish()


if __name__ == "__main__":
    sys.exit(main())
