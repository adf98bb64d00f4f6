// Texts of errors, limits and refusals: contract sections 1.6 and 1.7.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

async function fails(env: any, sql: string, message: string) {
  // Twice, because the second time the statement may come from a cache.
  for (let run = 0; run < 2; run++) {
    const error = await assertRejects(() => env.DB.prepare(sql).run(), { message: `D1_ERROR: ${message}`, cause: message });
    assertEquals(Object.keys(error), []);
  }
}

const users = (env: any) =>
  env.DB.exec(
    "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, age INTEGER NOT NULL CHECK (age > 0))\n" +
      "INSERT INTO users VALUES (1, 'a@b.c', 5)",
  );

test("a UNIQUE violation reads as Prisma and drizzle expect it", async (env) => {
  await users(env);
  await fails(env, "INSERT INTO users VALUES (2, 'a@b.c', 5)",
    "UNIQUE constraint failed: users.email: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)");
});

test("a primary key violation", async (env) => {
  await users(env);
  await fails(env, "INSERT INTO users VALUES (1, 'x', 5)",
    "UNIQUE constraint failed: users.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)");
});

test("a NOT NULL violation", async (env) => {
  await users(env);
  await fails(env, "INSERT INTO users (email) VALUES ('d')",
    "NOT NULL constraint failed: users.age: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)");
});

test("a CHECK violation", async (env) => {
  await users(env);
  await fails(env, "INSERT INTO users VALUES (3, 'e', -1)",
    "CHECK constraint failed: age > 0: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)");
});

test("a FOREIGN KEY violation", async (env) => {
  await env.DB.exec("CREATE TABLE p (id INTEGER PRIMARY KEY)\nCREATE TABLE c (p INTEGER REFERENCES p)");
  await fails(env, "INSERT INTO c VALUES (1)",
    "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)");
});

test("a missing table and a missing column", async (env) => {
  await users(env);
  await fails(env, "SELECT * FROM nope", "no such table: nope: SQLITE_ERROR");
  await fails(env, "SELECT nope FROM users", "no such column: nope at offset 7: SQLITE_ERROR");
});

test("a syntax error says where", async (env) => {
  await fails(env, "INSERTZ INTO users VALUES (1)", 'near "INSERTZ": syntax error at offset 0: SQLITE_ERROR');
  await fails(env, "SELECT 1 FORM x y", 'near "x": syntax error at offset 14: SQLITE_ERROR');
});

test("a text without a statement", async (env) => {
  for (const sql of ["", "  \n", "  -- a comment", "\n-- a comment\n"]) {
    await fails(env, sql, "No SQL statements detected.");
  }
  for (const sql of [";", "-- a comment", "/* a comment */", "SELECT 1;;", "SELECT 1; -- a comment"]) {
    await fails(env, sql, "SQL code did not contain a statement.");
  }
});

test("the error is the same from first, all, run, raw and batch", async (env) => {
  const message = "D1_ERROR: no such table: nope: SQLITE_ERROR";
  const statement = env.DB.prepare("SELECT * FROM nope");
  for (const run of [() => statement.first(), () => statement.all(), () => statement.run(), () => statement.raw(), () => env.DB.batch([statement])]) {
    await assertRejects(run, { message, cause: "no such table: nope: SQLITE_ERROR" });
  }
});

test("the stack of an error leads to the worker's own line", async (env) => {
  const error = await assertRejects(() => env.DB.prepare("SELECT * FROM nope").all(), { message: /no such table/ });
  assert(/errors\.test\.ts:\d+:\d+/.test(error.stack), error.stack);
});

test("a hundred parameters are allowed and one more is not", async (env) => {
  const marks = (length: number) => Array.from({ length }, () => "?").join(",");
  const numbers = Array.from({ length: 101 }, (_, n) => n);
  const found = await env.DB.prepare(`SELECT 5 IN (${marks(100)}) AS found`).bind(...numbers.slice(0, 100)).first("found");
  assertEquals(found, 1);
  await assertRejects(() => env.DB.prepare(`SELECT 5 IN (${marks(101)})`).bind(...numbers).all(), {
    message: /^D1_ERROR: too many SQL variables at offset \d+: SQLITE_ERROR$/,
  });
});

test("transactions cannot be steered from SQL", async (env) => {
  for (const sql of ["BEGIN", "BEGIN TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a"]) {
    await assertRejects(() => env.DB.prepare(sql).run(), {
      message: /^D1_ERROR: To execute a transaction, please use the state\.storage\.transaction\(\) or state\.storage\.transactionSync\(\) APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements\. The JavaScript API is safer because /,
    });
  }
});

test("what reaches outside the database is not authorized", async (env) => {
  for (
    const sql of [
      "ATTACH 'other.sqlite' AS other",
      "CREATE TABLE _cf_mine (a)",
      "CREATE TEMP TABLE x (a)",
      "PRAGMA journal_mode = DELETE",
      "PRAGMA writable_schema = ON",
      "PRAGMA database_list",
      "PRAGMA page_size",
      "CREATE TABLE temp.t (a)",
    ]
  ) {
    await fails(env, sql, "not authorized: SQLITE_AUTH");
  }
});

test("functions that tell about the engine are refused", async (env) => {
  for (const sql of ["VACUUM", "SELECT sqlite_version()", "SELECT load_extension('x')", "DETACH main"]) {
    await assertRejects(() => env.DB.prepare(sql).run(), { message: /^D1_ERROR: / });
  }
});

test("pragmas that D1 allows are allowed", async (env) => {
  await users(env);
  const info = await env.DB.prepare("PRAGMA table_info(users)").all();
  assertEquals(info.results.map((column: any) => column.name), ["id", "email", "age"]);
  for (const sql of ["PRAGMA foreign_keys", "PRAGMA table_list", "PRAGMA quick_check", "PRAGMA optimize", "PRAGMA index_list(users)"]) {
    await env.DB.prepare(sql).all();
  }
});

test("foreign keys can be deferred for one batch", async (env) => {
  await env.DB.exec("CREATE TABLE p (id INTEGER PRIMARY KEY)\nCREATE TABLE c (p INTEGER REFERENCES p)");
  await env.DB.batch([
    env.DB.prepare("PRAGMA defer_foreign_keys = on"),
    env.DB.prepare("INSERT INTO c VALUES (1)"),
    env.DB.prepare("INSERT INTO p VALUES (1)"),
  ]);
  assertEquals(await env.DB.prepare("SELECT count(*) AS n FROM c").first("n"), 1);
});

test("texts and statements have their greatest size", async (env) => {
  await assertRejects(() => env.DB.prepare("SELECT ?").bind("x".repeat(5 * 1024 * 1024)).first(), {
    message: "D1_ERROR: string or blob too big: SQLITE_TOOBIG",
  });
  await fails(env, `SELECT '${"x".repeat(100_001)}'`, "statement too long: SQLITE_TOOBIG");
});

test("a table has at most a hundred columns and a pattern fifty bytes", async (env) => {
  const columns = Array.from({ length: 101 }, (_, n) => `c${n}`).join(",");
  await assertRejects(() => env.DB.prepare(`CREATE TABLE wide (${columns})`).run(), { message: /^D1_ERROR: too many columns on wide/ });
  await assertRejects(() => env.DB.prepare("SELECT 'a' LIKE ?").bind("x".repeat(51)).first(), {
    message: /^D1_ERROR: LIKE or GLOB pattern too complex/,
  });
});

test("only the last of several statements may have parameters", async (env) => {
  await assertRejects(() => env.DB.prepare("SELECT ?; SELECT 2").bind(1).all(), {
    message:
      "D1_ERROR: When executing multiple SQL statements in a single call, only the last statement can have parameters.",
  });
});
