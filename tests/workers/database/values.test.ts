// From JavaScript to SQLite and back: contract sections 1.2 and 1.3.

import { assert, assertEquals, assertThrows, test } from "../testing.ts";

const typeOf = async (env: any, value: unknown) =>
  await env.DB.prepare("SELECT typeof(?) AS type, ? AS value").bind(value, value).first();

test("a whole number is bound as a double", async (env) => {
  assertEquals(await typeOf(env, 1), { type: "real", value: 1 });
  assertEquals(await env.DB.prepare("SELECT 7 / ?").bind(2).first("7 / ?"), 3.5);
  assertEquals(await env.DB.prepare("SELECT json_array(?) AS j").bind(1).first("j"), "[1.0]");
});

test("column affinity makes integers of doubles and text of numbers", async (env) => {
  await env.DB.exec("CREATE TABLE affinity (i INTEGER, n NUMERIC, t TEXT, r REAL)");
  await env.DB.prepare("INSERT INTO affinity VALUES (?, ?, ?, ?)").bind(1, 2, 3, 4).run();
  const types = "SELECT typeof(i) AS i, typeof(n) AS n, typeof(t) AS t, t AS text, typeof(r) AS r FROM affinity";
  assertEquals(await env.DB.prepare(types).first(), { i: "integer", n: "integer", t: "text", text: "3.0", r: "real" });
});

test("a string id finds an integer key", async (env) => {
  await env.DB.exec("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)");
  await env.DB.prepare("INSERT INTO items (id, name) VALUES (?, ?)").bind("7", "seven").run();
  assertEquals(await env.DB.prepare("SELECT * FROM items WHERE id = ?").bind("7").first(), { id: 7, name: "seven" });
});

test("numbers come back as they went in", async (env) => {
  for (const number of [0, 1, -1, 0.1, 1e300, -1e-300, 2 ** 53, Number.MAX_VALUE, Number.MIN_VALUE]) {
    assertEquals(await env.DB.prepare("SELECT ? AS v").bind(number).first("v"), number);
  }
});

test("numbers that JSON lacks are null, and zero has one sign", async (env) => {
  const row = await env.DB.prepare("SELECT ? AS a, ? AS b, ? AS c, ? AS d").bind(Infinity, -Infinity, NaN, -0).first();
  assertEquals(row, { a: null, b: null, c: null, d: 0 });
  const [values] = await env.DB.prepare("SELECT 1e400, -1e400, typeof(1e400), -0.0").raw();
  assertEquals(values, [null, null, "real", 0]);
});

test("integers of 64 bits lose precision and are never BigInt", async (env) => {
  const row = await env.DB.prepare("SELECT 9223372036854775807 AS a, -9223372036854775808 AS b, 4294967296 AS c").first();
  assertEquals(row, { a: 9223372036854775807, b: -9223372036854775808, c: 4294967296 });
  assertEquals(typeof row.a, "number");
});

test("booleans are bound as 1 and 0", async (env) => {
  assertEquals(await env.DB.prepare("SELECT ? AS a, ? AS b").bind(true, false).first(), { a: 1, b: 0 });
  assertEquals(env.DB.prepare("SELECT ?").bind(true).params, [1]);
});

test("null is NULL", async (env) => {
  assertEquals(await typeOf(env, null), { type: "null", value: null });
});

test("strings come back whole, with every character and with NUL", async (env) => {
  for (const text of ["", "a", "grün", "漢字", "😀👩‍👩‍👧", "a\u0000b", "'\"`;--", "\r\n\t", "é".normalize("NFD"), "x".repeat(100_000)]) {
    assertEquals(await env.DB.prepare("SELECT ? AS v").bind(text).first("v"), text);
  }
});

test("half a surrogate pair becomes the replacement character", async (env) => {
  assertEquals(await env.DB.prepare("SELECT ? AS v").bind("a\ud800b").first("v"), "a\ufffdb");
});

test("a blob comes back as a plain array of numbers", async (env) => {
  const value = await env.DB.prepare("SELECT ? AS v").bind(new Uint8Array([0, 1, 127, 128, 255])).first("v");
  assert(Array.isArray(value), "expected an array");
  assertEquals(value, [0, 1, 127, 128, 255]);
  assertEquals(await env.DB.prepare("SELECT x'00ff' AS v").first("v"), [0, 255]);
  assertEquals(await env.DB.prepare("SELECT x'' AS v").first("v"), []);
});

test("an array of bytes is a blob", async (env) => {
  assertEquals(await typeOf(env, [1, 2, 3]), { type: "blob", value: [1, 2, 3] });
  assertEquals(await typeOf(env, []), { type: "blob", value: [] });
});

test("an ArrayBuffer is a blob", async (env) => {
  assertEquals(await typeOf(env, new Uint8Array([9, 8]).buffer), { type: "blob", value: [9, 8] });
});

test("a view is bound by its elements and not by its buffer", async (env) => {
  const bytes = new Uint8Array([1, 2, 3, 4]);
  assertEquals(await typeOf(env, bytes.subarray(1, 3)), { type: "blob", value: [2, 3] });
  assertEquals(await typeOf(env, new Uint16Array([1, 255])), { type: "blob", value: [1, 255] });
});

test("undefined is refused synchronously, with its cause", (env) => {
  assertThrows(() => env.DB.prepare("SELECT ?").bind(undefined), {
    message: "D1_TYPE_ERROR: Type 'undefined' not supported for value 'undefined'",
    cause: "Type 'undefined' not supported for value 'undefined'",
  });
});

test("what cannot be bound is refused by its type and its text", (env) => {
  const date = new Date(0);
  for (
    const [value, type, text] of [
      [10n, "bigint", "10"],
      [() => 1, "function", "()=>1"],
      [{ a: 1 }, "object", "[object Object]"],
      [date, "object", String(date)],
      [["a"], "object", "a"],
      [[1, 256], "object", "1,256"],
      [[-1], "object", "-1"],
      [new Map(), "object", "[object Map]"],
      [Object.create(null), "object", "[object Object]"],
    ] as [unknown, string, string][]
  ) {
    const message = `Type '${type}' not supported for value '${text}'`;
    assertThrows(() => env.DB.prepare("SELECT ?").bind(value), { message: `D1_TYPE_ERROR: ${message}`, cause: message });
  }
  assertThrows(() => env.DB.prepare("SELECT ?").bind(Symbol("s")), {
    name: "TypeError",
    message: "Cannot convert a Symbol value to a string",
  });
});

test("numbered parameters may come in any order and more than once", async (env) => {
  await env.DB.exec("CREATE TABLE colours (a, b, c)");
  const insert = env.DB.prepare("INSERT INTO colours VALUES (?3, ?1, ?2) RETURNING a, b, c");
  assertEquals(await insert.bind("yellow", 0xffff00, 4).first(), { a: 4, b: "yellow", c: 0xffff00 });
  assertEquals(await env.DB.prepare("SELECT ?1 AS a, ?1 AS b").bind("x").first(), { a: "x", b: "x" });
});

test("too few and too many parameters are an error when the statement runs", async (env) => {
  for (const statement of [
    env.DB.prepare("SELECT ?, ?").bind(1),
    env.DB.prepare("SELECT ?").bind(1, 2),
    env.DB.prepare("SELECT ?"),
    env.DB.prepare("SELECT 1").bind(1),
  ]) {
    const error = await statement.all().then(() => null, (error: Error) => error);
    assertEquals(error?.message, "D1_ERROR: Wrong number of parameter bindings for SQL query.");
    assertEquals(error.cause.message, "Wrong number of parameter bindings for SQL query.");
  }
});

test("values that change after bind were bound as they were", async (env) => {
  const bytes = new Uint8Array([1, 2]);
  const statement = env.DB.prepare("SELECT ? AS v").bind(bytes);
  bytes[0] = 9;
  assertEquals(await statement.first("v"), [1, 2]);
});

test("a row with many kinds of value keeps them all", async (env) => {
  await env.DB.exec("CREATE TABLE kinds (id INTEGER PRIMARY KEY, t TEXT, r REAL, b BLOB, n)");
  const made = await env.DB.prepare("INSERT INTO kinds (t, r, b, n) VALUES (?, ?, ?, ?) RETURNING *")
    .bind("text", 1.5, new Uint8Array([1]), null).first();
  assertEquals(made, { id: 1, t: "text", r: 1.5, b: [1], n: null });
  assertEquals(await env.DB.prepare("SELECT * FROM kinds").first(), made);
});

test("dates and JSON of SQLite are text", async (env) => {
  const row = await env.DB.prepare("SELECT date(0, 'unixepoch') AS d, json_extract('{\"a\":[1,{\"b\":2}]}', '$.a[1]') AS j").first();
  assertEquals(row, { d: "1970-01-01", j: '{"b":2}' });
});
