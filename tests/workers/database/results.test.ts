// Surface, results and meta: contract sections 1.1, 1.4 and 1.5.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const movies = async (env: any) => {
  await env.DB.batch([
    env.DB.prepare("CREATE TABLE movies (id INTEGER PRIMARY KEY, title TEXT NOT NULL, year INTEGER)"),
    env.DB.prepare("INSERT INTO movies VALUES (1, 'Jaws', 1975), (2, 'Alien', 1979), (3, 'Brazil', 1985)"),
  ]);
};

test("prepare and bind touch no database", (env) => {
  const statement = env.DB.prepare("THIS IS NOT SQL").bind(1, "a");
  assertEquals(statement.statement, "THIS IS NOT SQL");
  assertEquals(statement.params, [1, "a"]);
});

test("all returns success, results and meta", async (env) => {
  await movies(env);
  const result = await env.DB.prepare("SELECT * FROM movies WHERE year > ? ORDER BY id").bind(1976).all();
  assertEquals(Object.keys(result).sort(), ["meta", "results", "success"]);
  assertEquals(result.success, true);
  assertEquals(result.results, [{ id: 2, title: "Alien", year: 1979 }, { id: 3, title: "Brazil", year: 1985 }]);
  assertEquals(Object.getPrototypeOf(result.results[0]), Object.prototype);
});

test("run returns the rows of a query", async (env) => {
  await movies(env);
  const result = await env.DB.prepare("SELECT id FROM movies ORDER BY id").run();
  assertEquals(result.results, [{ id: 1 }, { id: 2 }, { id: 3 }]);
});

test("run of a plain write has no results", async (env) => {
  await movies(env);
  const result = await env.DB.prepare("UPDATE movies SET year = 2000").run();
  assertEquals([result.success, result.results, result.meta.changes], [true, [], 3]);
});

test("RETURNING gives the rows that were written", async (env) => {
  await movies(env);
  const insert = env.DB.prepare("INSERT INTO movies (title, year) VALUES (?, ?) RETURNING id, title");
  assertEquals((await insert.bind("Heat", 1995).run()).results, [{ id: 4, title: "Heat" }]);
  assertEquals((await insert.bind("Ran", 1985).all()).results, [{ id: 5, title: "Ran" }]);
  assertEquals(await insert.bind("Us", 2019).first(), { id: 6, title: "Us" });
  assertEquals(await env.DB.prepare("DELETE FROM movies WHERE id > 3 RETURNING id").raw(), [[4], [5], [6]]);
});

test("first returns the first row or null", async (env) => {
  await movies(env);
  const statement = env.DB.prepare("SELECT title FROM movies WHERE year > ? ORDER BY year");
  assertEquals(await statement.bind(1976).first(), { title: "Alien" });
  assertEquals(await statement.bind(3000).first(), null);
});

test("first of a column returns its value, and null without a row", async (env) => {
  await movies(env);
  assertEquals(await env.DB.prepare("SELECT title, year FROM movies ORDER BY id").first("year"), 1975);
  assertEquals(await env.DB.prepare("SELECT title FROM movies WHERE id = 99").first("title"), null);
  assertEquals(await env.DB.prepare("SELECT NULL AS n").first("n"), null);
  assertEquals(await env.DB.prepare("select 1;").first("1"), 1);
});

test("first of an unknown column is an error with its cause", async (env) => {
  await assertRejects(() => env.DB.prepare("SELECT 1 AS a").first("b"), {
    message: "D1_COLUMN_NOTFOUND: Column not found (b)",
    cause: "Column not found",
  });
});

test("a write through first really happens", async (env) => {
  await movies(env);
  assertEquals(await env.DB.prepare("DELETE FROM movies").first(), null);
  assertEquals(await env.DB.prepare("SELECT count(*) AS n FROM movies").first("n"), 0);
});

test("raw returns arrays and keeps columns of the same name", async (env) => {
  await movies(env);
  assertEquals(await env.DB.prepare("SELECT id, title FROM movies WHERE id < 3").raw(), [[1, "Jaws"], [2, "Alien"]]);
  assertEquals(await env.DB.prepare("SELECT 1 AS a, 2 AS a").raw(), [[1, 2]]);
  assertEquals(await env.DB.prepare("SELECT 1 WHERE 0").raw(), []);
});

test("raw with columnNames begins with the names, also without rows", async (env) => {
  const select = env.DB.prepare("SELECT 1 AS a, 2 AS b, 3 AS a");
  assertEquals(await select.raw({ columnNames: true }), [["a", "b", "a"], [1, 2, 3]]);
  assertEquals(await select.raw({ columnNames: false }), [[1, 2, 3]]);
  assertEquals(await env.DB.prepare("SELECT 1 AS a WHERE 0").raw({ columnNames: true }), [["a"]]);
});

test("the names of raw may be changed without harm", async (env) => {
  const select = env.DB.prepare("SELECT 1 AS a");
  const [names] = await select.raw({ columnNames: true });
  names[0] = "changed";
  names.push("more");
  assertEquals(await select.raw({ columnNames: true }), [["a"], [1]]);
  assertEquals(await select.first(), { a: 1 });
});

test("of columns with the same name the last one wins in an object", async (env) => {
  assertEquals(await env.DB.prepare("SELECT 1 AS a, 2 AS a").first(), { a: 2 });
  assertEquals(await env.DB.prepare("SELECT 1 AS a, 2 AS a").first("a"), 2);
});

test("a column without a name is named by its expression", async (env) => {
  assertEquals((await env.DB.prepare("select 1;").all()).results, [{ "1": 1 }]);
  assertEquals(await env.DB.prepare("SELECT count(*), 'x'").first(), { "count(*)": 1, "'x'": "x" });
});

test("columns may be named like properties of objects", async (env) => {
  const row = await env.DB.prepare('SELECT 1 AS "__proto__", 2 AS "constructor", 3 AS "toString", 4 AS ""').first();
  assertEquals(Object.keys(row).sort(), ["", "__proto__", "constructor", "toString"]);
  assertEquals(Object.getOwnPropertyDescriptor(row, "__proto__")?.value, 1);
  assertEquals(Object.getPrototypeOf(row), Object.prototype);
});

test("a row can be changed and spread", async (env) => {
  const row = await env.DB.prepare("SELECT 1 AS a, 2 AS b").first();
  row.a = 5;
  delete row.b;
  assertEquals({ ...row, c: 1 }, { a: 5, c: 1 });
});

test("meta has the members of D1", async (env) => {
  await movies(env);
  const { meta } = await env.DB.prepare("SELECT * FROM movies").all();
  for (const [name, type] of Object.entries({
    served_by: "string", duration: "number", changes: "number", last_row_id: "number", changed_db: "boolean",
    size_after: "number", rows_read: "number", rows_written: "number",
  })) {
    assertEquals(typeof meta[name], type, name);
  }
  assert(meta.duration >= 0 && meta.size_after > 0 && meta.size_after % 512 === 0, "duration and size are plausible");
});

test("meta of a query of three rows", async (env) => {
  await movies(env);
  for (let run = 0; run < 2; run++) {
    const { meta } = await env.DB.prepare("SELECT * FROM movies").all();
    assertEquals([meta.rows_read, meta.rows_written, meta.changes, meta.changed_db], [3, 0, 0, false]);
  }
});

test("meta of a plain insert", async (env) => {
  await movies(env);
  const { meta } = await env.DB.prepare("INSERT INTO movies VALUES (10, 'Heat', 1995)").run();
  assertEquals([meta.changes, meta.rows_read, meta.rows_written], [1, 1, 1]);
  assertEquals([meta.last_row_id, meta.changed_db], [10, true]);
});

test("meta of an insert with RETURNING", async (env) => {
  await movies(env);
  const { meta } = await env.DB.prepare("INSERT INTO movies VALUES (10, 'Heat', 1995) RETURNING *").all();
  assertEquals([meta.changes, meta.rows_read, meta.rows_written, meta.last_row_id], [1, 2, 1, 10]);
});

test("meta of two inserts in one text: the changes of both, the rows of the last", async (env) => {
  await movies(env);
  const { meta } = await env.DB.prepare("INSERT INTO movies VALUES (8, 'a', 1); INSERT INTO movies VALUES (9, 'b', 2)").run();
  assertEquals([meta.changes, meta.rows_read, meta.rows_written, meta.last_row_id], [2, 1, 1, 9]);
});

test("meta of a write that meets no row", async (env) => {
  await movies(env);
  const { meta } = await env.DB.prepare("UPDATE movies SET year = 1 WHERE id = 99").run();
  assertEquals([meta.changes, meta.changed_db], [0, false]);
});

test("meta of a new table: the database changed and no row did", async (env) => {
  const { meta } = await env.DB.prepare("CREATE TABLE made (a)").run();
  assertEquals([meta.changes, meta.changed_db], [0, true]);
});

test("a query with IN writes nothing", async (env) => {
  await movies(env);
  const { meta } = await env.DB.prepare("SELECT * FROM movies WHERE title IN ('Jaws', 'Heat')").all();
  assertEquals(meta.rows_written, 0);
});

test("several statements in one text return the last result", async (env) => {
  const sql = "CREATE TABLE t (a); INSERT INTO t VALUES (1);\n-- now ask\nSELECT a FROM t WHERE a = ?;";
  assertEquals((await env.DB.prepare(sql).bind(1).all()).results, [{ a: 1 }]);
});

test("five thousand rows come back in order", async (env) => {
  const sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5000) SELECT x, 'row ' || x AS t FROM n";
  const { results } = await env.DB.prepare(sql).all();
  assertEquals(results.length, 5000);
  assertEquals([results[0], results[4999]], [{ x: 1, t: "row 1" }, { x: 5000, t: "row 5000" }]);
});

test("the surface is that of D1", (env) => {
  const methods = (object: object) =>
    Object.getOwnPropertyNames(Object.getPrototypeOf(object)).filter((name) => name !== "constructor").sort();
  assertEquals(methods(env.DB), ["batch", "dump", "exec", "prepare", "withSession"]);
  assertEquals(methods(env.DB.withSession()), ["batch", "getBookmark", "prepare"]);
  assertEquals(methods(env.DB.prepare("")), ["all", "bind", "first", "raw", "run"]);
  assertEquals(env.DB.constructor.name, "D1Database");
  assertEquals(env.DB.prepare("").constructor.name, "D1PreparedStatement");
});
