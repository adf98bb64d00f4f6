// batch, exec, dump and sessions: contract section 1.4.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const unique = "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)";
const count = (env: any) => env.DB.prepare("SELECT count(*) AS n FROM t").first("n");

test("a batch returns all results in order", async (env) => {
  await env.DB.exec("CREATE TABLE t (a INTEGER)");
  const insert = env.DB.prepare("INSERT INTO t VALUES (?)");
  const results = await env.DB.batch([insert.bind(1), insert.bind(2), env.DB.prepare("SELECT sum(a) AS s FROM t")]);
  assertEquals(results.map((result: any) => result.results), [[], [], [{ s: 3 }]]);
  assertEquals(results.map((result: any) => [result.success, result.meta.changes]), [[true, 1], [true, 1], [true, 0]]);
});

test("a batch with a failure changes nothing and rejects with one error", async (env) => {
  await env.DB.exec("CREATE TABLE t (a UNIQUE)");
  const insert = env.DB.prepare("INSERT INTO t VALUES (?)");
  await assertRejects(() => env.DB.batch([insert.bind(1), insert.bind(2), insert.bind(1), insert.bind(3)]), {
    message: `D1_ERROR: ${unique}`,
    cause: unique,
  });
  assertEquals(await count(env), 0);
  await insert.bind(4).run();
  assertEquals(await count(env), 1);
});

test("a batch may make a table and use it", async (env) => {
  const results = await env.DB.batch([
    env.DB.prepare("CREATE TABLE t (a)"),
    env.DB.prepare("INSERT INTO t VALUES (?) RETURNING a").bind("x"),
    env.DB.prepare("SELECT a FROM t"),
  ]);
  assertEquals(results[1].results, [{ a: "x" }]);
  assertEquals(results[2].results, [{ a: "x" }]);
});

test("the same statement may stand in a batch several times", async (env) => {
  await env.DB.exec("CREATE TABLE t (a INTEGER PRIMARY KEY)");
  const insert = env.DB.prepare("INSERT INTO t VALUES (NULL) RETURNING a");
  const results = await env.DB.batch([insert, insert, insert]);
  assertEquals(results.map((result: any) => result.results[0].a), [1, 2, 3]);
});

test("a batch of a hundred inserts is one transaction", async (env) => {
  await env.DB.exec("CREATE TABLE t (a)");
  const insert = env.DB.prepare("INSERT INTO t VALUES (?)");
  const results = await env.DB.batch(Array.from({ length: 100 }, (_, n) => insert.bind(n)));
  assertEquals(results.length, 100);
  assertEquals(await count(env), 100);
});

test("a syntax error in a batch rolls the rest back", async (env) => {
  await env.DB.exec("CREATE TABLE t (a)");
  await assertRejects(() => env.DB.batch([env.DB.prepare("INSERT INTO t VALUES (1)"), env.DB.prepare("NONSENSE")]), {
    message: 'D1_ERROR: near "NONSENSE": syntax error at offset 0: SQLITE_ERROR',
  });
  assertEquals(await count(env), 0);
});

test("what is no prepared statement is refused as D1 refuses it", async (env) => {
  await assertRejects(() => env.DB.batch([env.DB.prepare("SELECT 1"), "SELECT 1"]), { message: /^D1_ERROR: .*number 2/ });
  await assertRejects(() => env.DB.batch("SELECT 1"), { name: "TypeError", message: "statements.map is not a function" });
  await assertRejects(() => env.DB.batch(), {
    name: "TypeError",
    message: "Cannot read properties of undefined (reading 'map')",
  });
  await assertRejects(() => env.DB.batch([null]), {
    name: "TypeError",
    message: "Cannot read properties of null (reading 'statement')",
  });
  assertEquals((await env.DB.batch([{ statement: "SELECT 1 AS a", params: [] }]))[0].results, [{ a: 1 }]);
});

test("a text that is no string is refused when it runs", async (env) => {
  assertEquals(env.DB.prepare(7).statement, 7);
  for (const sql of [undefined, null, 7, {}]) {
    await assertRejects(() => env.DB.prepare(sql).all(), { message: /^D1_ERROR: prepare\(\) takes a string/ });
  }
  await assertRejects(() => env.DB.exec(), {
    name: "TypeError",
    message: "Cannot read properties of undefined (reading 'trim')",
  });
  await assertRejects(() => env.DB.exec(7), { name: "TypeError", message: "query.trim is not a function" });
  assertThrows(() => env.DB.withSession(7), { name: "TypeError", message: "constraintOrBookmark?.trim is not a function" });
});

test("blank statements of a batch are as if they were not there", async (env) => {
  const [one, ...none] = await env.DB.batch([env.DB.prepare("SELECT 1 AS a"), env.DB.prepare(""), env.DB.prepare("\n  -- a")]);
  assertEquals([one.results, none.length], [[{ a: 1 }], 0]);
  await assertRejects(() => env.DB.batch([env.DB.prepare(" ")]), { message: "D1_ERROR: No SQL statements detected." });
  await assertRejects(() => env.DB.batch([env.DB.prepare("SELECT 1"), env.DB.prepare("-- a")]), {
    message: "D1_ERROR: SQL code did not contain a statement.",
  });
});

test("an empty batch has no statements", async (env) => {
  await assertRejects(() => env.DB.batch([]), { message: "D1_ERROR: No SQL statements detected." });
});

test("exec runs each line as a query and counts lines", async (env) => {
  const result = await env.DB.exec("  CREATE TABLE t (a)\nINSERT INTO t VALUES (1)\nINSERT INTO t VALUES (2)\n\n".trimEnd());
  assertEquals(Object.keys(result).sort(), ["count", "duration"]);
  assertEquals(result.count, 3);
  assert(result.duration >= 0, "a duration");
  assertEquals(await count(env), 2);
});

test("exec counts a line with two statements as one", async (env) => {
  assertEquals((await env.DB.exec("select 1; select 2;")).count, 1);
  assertEquals((await env.DB.exec("select 1;\nselect 2;")).count, 2);
});

test("a statement broken over lines fails in exec", async (env) => {
  const error = await assertRejects(() => env.DB.exec("CREATE TABLE t (\n  a\n)"), {
    message: "D1_EXEC_ERROR: Error in line 1: CREATE TABLE t (: incomplete input: SQLITE_ERROR",
  });
  assert(!(error instanceof TypeError), "no TypeError");
});

test("exec always names line 1 and has a cause", async (env) => {
  await assertRejects(() => env.DB.exec("SELECT 1\nINSERT INTO nope VALUES (1)"), {
    message: "D1_EXEC_ERROR: Error in line 1: SELECT 1: no such table: nope: SQLITE_ERROR",
    cause: "Error in line 1: SELECT 1: no such table: nope: SQLITE_ERROR",
  });
});

test("exec is one transaction", async (env) => {
  await env.DB.exec("CREATE TABLE t (a UNIQUE)");
  await assertRejects(() => env.DB.exec("INSERT INTO t VALUES (1)\nINSERT INTO t VALUES (1)"), { message: /UNIQUE/ });
  assertEquals(await count(env), 0);
});

test("exec passes over blank lines, line ends of Windows and indented comments", async (env) => {
  assertEquals((await env.DB.exec("CREATE TABLE a (x);\n\nCREATE TABLE b (y);")).count, 2);
  assertEquals((await env.DB.exec("CREATE TABLE c (x);\r\n\r\nCREATE TABLE d (y);\r\n")).count, 2);
  assertEquals((await env.DB.exec("CREATE TABLE e (x);\n   -- why\n\tCREATE TABLE f (y);")).count, 2);
  const made = await env.DB.prepare("SELECT group_concat(name, '') AS names FROM sqlite_master WHERE length(name) = 1").first();
  assertEquals(made, { names: "abcdef" });
  await assertRejects(() => env.DB.exec("-- why\nSELECT 1"), {
    message: "D1_EXEC_ERROR: Error in line 1: -- why: SQL code did not contain a statement.",
  });
});

test("exec of nothing is an error", async (env) => {
  await assertRejects(() => env.DB.exec("  \n "), { message: /^D1_EXEC_ERROR: .*No SQL statements detected\.$/ });
});

test("dump is an ArrayBuffer with a database", async (env) => {
  await env.DB.exec("CREATE TABLE t (a)");
  const bytes = await env.DB.dump();
  assert(bytes instanceof ArrayBuffer, "an ArrayBuffer");
  assertEquals(new TextDecoder().decode(bytes.slice(0, 15)), "SQLite format 3");
  assertEquals(bytes.byteLength % 512, 0);
});

test("a session reads and writes and its bookmark moves forward", async (env) => {
  await env.DB.exec("CREATE TABLE t (a)");
  const session = env.DB.withSession();
  assertEquals(session.getBookmark(), null);
  await session.prepare("INSERT INTO t VALUES (1)").run();
  const first = session.getBookmark();
  assertEquals(typeof first, "string");
  await session.batch([session.prepare("INSERT INTO t VALUES (2)")]);
  const second = session.getBookmark();
  assert(second > first, `${second} after ${first}`);
  assertEquals(await session.prepare("SELECT count(*) AS n FROM t").first("n"), 2);
  assert(session.getBookmark() >= second, "a query does not move it back");
});

test("sessions start from constraints and from bookmarks", async (env) => {
  for (const constraint of [undefined, null, "", "first-unconstrained", "first-primary"]) {
    const session = env.DB.withSession(constraint);
    assertEquals(session.getBookmark(), null, String(constraint));
    assertEquals(await session.prepare("SELECT 1 AS a").first("a"), 1);
    assertEquals(typeof session.getBookmark(), "string");
  }
  const other = env.DB.withSession("token-doesnot-matter-for-now");
  assertEquals(other.getBookmark(), "token-doesnot-matter-for-now");
  assertEquals(await other.prepare("SELECT 1 AS a").first("a"), 1);
  assertEquals(other.getBookmark(), "token-doesnot-matter-for-now");
});

test("a bookmark of one session starts another", async (env) => {
  await env.DB.exec("CREATE TABLE t (a)");
  const session = env.DB.withSession("first-primary");
  await session.prepare("INSERT INTO t VALUES (1)").run();
  const other = env.DB.withSession(session.getBookmark());
  assertEquals(other.getBookmark(), session.getBookmark());
  assertEquals(await other.prepare("SELECT a FROM t").first("a"), 1);
});

test("a blank bookmark is refused", (env) => {
  assertThrows(() => env.DB.withSession("   "), {
    message: "D1_SESSION_ERROR: invalid bookmark or constraint",
    cause: "invalid bookmark or constraint",
  });
});

test("a session has no exec and no dump", (env) => {
  assertEquals([env.DB.withSession().exec, env.DB.withSession().dump], [undefined, undefined]);
});
