// Many callers, statements used again, and user code that tampers with what it can reach.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

test("fifty writes at once all happen", async (env) => {
  await env.DB.exec("CREATE TABLE t (a INTEGER PRIMARY KEY, b)");
  const insert = env.DB.prepare("INSERT INTO t (b) VALUES (?)");
  const results = await Promise.all(Array.from({ length: 50 }, (_, n) => insert.bind(n).run()));
  assertEquals(new Set(results.map((result) => result.meta.last_row_id)).size, 50);
  assertEquals(await env.DB.prepare("SELECT count(*) AS n, sum(b) AS s FROM t").first(), { n: 50, s: 1225 });
});

test("reads and writes at once see whole transactions", async (env) => {
  await env.DB.exec("CREATE TABLE t (a)");
  const insert = env.DB.prepare("INSERT INTO t VALUES (1)");
  const work = [];
  for (let n = 0; n < 25; n++) {
    work.push(env.DB.batch([insert, insert]).then(() => 0));
    work.push(env.DB.prepare("SELECT count(*) % 2 AS odd FROM t").first("odd"));
  }
  assertEquals(new Set(await Promise.all(work)), new Set([0]));
});

test("some of many calls may fail without harm to the others", async (env) => {
  await env.DB.exec("CREATE TABLE t (a UNIQUE)");
  const insert = env.DB.prepare("INSERT INTO t VALUES (?)");
  const settled = await Promise.allSettled(Array.from({ length: 40 }, (_, n) => insert.bind(n % 10).run()));
  assertEquals(settled.filter((one) => one.status === "fulfilled").length, 10);
  assertEquals(await env.DB.prepare("SELECT count(*) AS n FROM t").first("n"), 10);
});

test("a prepared statement is reusable and immutable", async (env) => {
  const statement = env.DB.prepare("SELECT ? AS v");
  const [one, two] = [statement.bind(1), statement.bind(2)];
  assert(one !== statement && one !== two, "three statements");
  assertEquals([await two.first("v"), await one.first("v"), await two.first("v")], [2, 1, 2]);
  assertEquals([statement.params, one.params, two.params], [[], [1], [2]]);
  await assertRejects(() => statement.first(), { message: /Wrong number of parameter bindings/ });
});

test("binding again replaces what was bound", async (env) => {
  assertEquals(await env.DB.prepare("SELECT ? AS v").bind(1).bind(2).first("v"), 2);
});

test("a statement made before a schema change runs after it", async (env) => {
  await env.DB.exec("CREATE TABLE t (a)\nINSERT INTO t VALUES (1)");
  const select = env.DB.prepare("SELECT * FROM t");
  assertEquals(await select.first(), { a: 1 });
  await env.DB.exec("ALTER TABLE t ADD COLUMN b DEFAULT 'new'");
  assertEquals(await select.first(), { a: 1, b: "new" });
});

test("each result is an object of its own", async (env) => {
  const select = env.DB.prepare("SELECT 1 AS a");
  const [first, second] = [await select.all(), await select.all()];
  first.results[0].a = 5;
  first.meta.changes = 99;
  assertEquals([second.results[0].a, second.meta.changes], [1, 0]);
});

test("polluted prototypes do not reach results", async (env) => {
  const saved = Object.getOwnPropertyDescriptors(Array.prototype);
  const names = ["map", "push", "slice", "join", "concat", "forEach"];
  let seen = "";
  const trap = (name: string) => ({ configurable: true, set: () => { seen += name; }, get: () => undefined });
  let rows, raw, batch;
  try {
    for (const name of names) (Array.prototype as any)[name] = () => { throw new Error(`polluted ${name}`); };
    Object.defineProperty(Object.prototype, "results", trap("results"));
    Object.defineProperty(Object.prototype, "meta", trap("meta"));
    (Object.prototype as any).a = "polluted";
    const statement = env.DB.prepare("SELECT ? AS a, 'x' AS b").bind(1);
    rows = await statement.all();
    raw = await statement.raw({ columnNames: true });
    batch = await env.DB.batch([statement]);
  } finally {
    delete (Object.prototype as any).results;
    delete (Object.prototype as any).a;
    delete (Object.prototype as any).meta;
    for (const name of names) Object.defineProperty(Array.prototype, name, saved[name as any]);
  }
  assertEquals(rows.results, [{ a: 1, b: "x" }]);
  assertEquals(raw, [["a", "b"], [1, "x"]]);
  assertEquals(batch[0].results, [{ a: 1, b: "x" }]);
  assertEquals(seen, "");
});

test("a replaced Promise and then of Object.prototype change nothing", async (env) => {
  const then = Promise.prototype.then;
  const original = globalThis.Promise;
  let pending;
  try {
    Promise.prototype.then = () => { throw new Error("polluted then"); };
    globalThis.Promise = class { constructor() { throw new Error("polluted Promise"); } } as any;
    pending = env.DB.prepare("SELECT 1 AS a").first("a");
  } finally {
    globalThis.Promise = original;
    Promise.prototype.then = then;
  }
  assertEquals(await pending, 1);
});

test("what looks like a statement is run as one, and its parameters are looked at", async (env) => {
  const run = (statement: unknown, params?: unknown) => env.DB.batch([{ statement, params }]);
  assertEquals((await run("SELECT ? AS a", ["x"]))[0].results, [{ a: "x" }]);
  assertEquals((await run("SELECT 1 AS a"))[0].results, [{ a: 1 }]);
  await assertRejects(() => run("SELECT 1", 1), { message: /^D1_ERROR: / });
  await assertRejects(() => run("SELECT ?", [{}]), { message: /^D1_ERROR: / });
  await assertRejects(() => run(1), { message: /^D1_ERROR: .*number 1/ });
});

test("the classes cannot be constructed into other databases", (env) => {
  assertThrows(() => new env.DB.constructor(), { name: "TypeError", message: "Illegal constructor" });
  assertThrows(() => new (env.DB.prepare("").constructor)(0, "SELECT 1", []), { name: "TypeError", message: "Illegal constructor" });
  assertThrows(() => new (env.DB.withSession().constructor)(), { name: "TypeError", message: "Illegal constructor" });
});

test("methods on a wrong object are refused", (env) => {
  assertThrows(() => env.DB.prepare.call({}, "SELECT 1"), { name: "TypeError", message: /.+/ });
});

test("prepare keeps the text that it is given", (env) => {
  assertEquals(env.DB.prepare("SELECT 5").statement, "SELECT 5");
  assertEquals(env.DB.prepare(String.raw`SELECT '\n'`).statement, "SELECT '\\n'");
});

test("statements of one database run in a batch of its session", async (env) => {
  const session = env.DB.withSession();
  const results = await session.batch([env.DB.prepare("SELECT 1 AS a"), session.prepare("SELECT 2 AS a")]);
  assertEquals(results.map((result: any) => result.results[0].a), [1, 2]);
});

test("work after an error goes on", async (env) => {
  for (let n = 0; n < 20; n++) {
    await assertRejects(() => env.DB.prepare("SELECT * FROM nope").all(), { message: /no such table/ });
    assertEquals(await env.DB.prepare("SELECT ? AS v").bind(n).first("v"), n);
  }
});

test("a thousand different statements all work", async (env) => {
  for (let n = 0; n < 1000; n++) {
    assertEquals(await env.DB.prepare(`SELECT ${n} AS v${n}`).first(), { [`v${n}`]: n });
  }
});
