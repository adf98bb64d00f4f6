// Several keys at once and lists: contract sections 2.2 and 2.3.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const names = (page: any) => page.keys.map((key: any) => key.name);

test("several keys come back as a Map in the order of the keys", async (env) => {
  await env.CACHE.put("a", "1");
  await env.CACHE.put("b", "2");
  const values = await env.CACHE.get(["b", "missing", "a"]);
  assert(values instanceof Map, "a Map");
  assertEquals(values, new Map([["b", "2"], ["missing", null], ["a", "1"]]));
  assertEquals(await env.CACHE.get(["a"], "text"), new Map([["a", "1"]]));
});

test("several keys as json", async (env) => {
  await env.CACHE.put("a", '{"x":1}');
  await env.CACHE.put("b", "[2]");
  const expected = new Map<string, unknown>([["a", { x: 1 }], ["b", [2]], ["c", null]]);
  assertEquals(await env.CACHE.get(["a", "b", "c"], "json"), expected);
  assertEquals(await env.CACHE.get(["a", "b", "c"], { type: "json" }), expected);
});

test("a key named twice is there once", async (env) => {
  await env.CACHE.put("a", "1");
  assertEquals(await env.CACHE.get(["a", "a"]), new Map([["a", "1"]]));
});

test("several keys with metadata", async (env) => {
  await env.CACHE.put("a", "1", { metadata: { m: 1 } });
  await env.CACHE.put("b", "2");
  const found = await env.CACHE.getWithMetadata(["a", "b", "missing"]);
  assertEquals([...found.keys()], ["a", "b", "missing"]);
  assertEquals([found.get("a").value, found.get("a").metadata], ["1", { m: 1 }]);
  assertEquals([found.get("b").value, found.get("b").metadata], ["2", null]);
  assertEquals(found.get("missing"), null);
});

test("a bulk get takes one to a hundred keys", async (env) => {
  const keys = Array.from({ length: 101 }, (_, n) => `k${n}`);
  assertEquals((await env.CACHE.get(keys.slice(0, 100))).size, 100);
  await assertRejects(() => env.CACHE.get(keys), { message: "KV GET_BULK failed: 400 You can request a maximum of 100 keys" });
  await assertRejects(() => env.CACHE.get([]), { message: "KV GET_BULK failed: 400 You must request a minimum of 1 key" });
});

test("a bulk get knows text and json only", async (env) => {
  await env.CACHE.put("a", "not json");
  for (const type of ["invalid", "arrayBuffer", "stream"]) {
    await assertRejects(() => env.CACHE.get(["a"], type), {
      message: `KV GET_BULK failed: 400 "${type}" is not a valid type. Use "json" or "text"`,
    });
  }
  await assertRejects(() => env.CACHE.get(["a"], "json"), {
    message: "KV GET_BULK failed: 400 At least one of the requested keys corresponds to a non-json value",
  });
});

test("a bulk get returns at most 25 MiB", async (env) => {
  const value = "x".repeat(14_000_000);
  await env.CACHE.put("a", value);
  await env.CACHE.put("b", value);
  await assertRejects(() => env.CACHE.get(["a", "b"]), {
    message: "KV GET_BULK failed: 413 Total size of request exceeds the limit of 25MB",
  });
});

test("an empty cache lists nothing", async (env) => {
  assertEquals(await env.CACHE.list(), { keys: [], list_complete: true, cacheStatus: null });
});

test("keys are listed in the order of their bytes", async (env) => {
  const keys = ['"', "!", "A", "B", "a", "aa", "b", "~", "é", "漢", "\uffee", "😀", ",", ", "];
  for (const key of keys) await env.CACHE.put(key, "v");
  const order = (key: string) => [...new TextEncoder().encode(key)].map((byte) => String.fromCharCode(byte)).join("");
  const expected = keys.toSorted((a, b) => order(a) < order(b) ? -1 : 1);
  assertEquals(names(await env.CACHE.list()), expected);
});

test("a prefix is literal and case-sensitive", async (env) => {
  for (const key of ["user:1", "user:2", "User:3", "use", "user", "user_4", "user%5", "users:6"]) await env.CACHE.put(key, "v");
  assertEquals(names(await env.CACHE.list({ prefix: "user:" })), ["user:1", "user:2"]);
  assertEquals(names(await env.CACHE.list({ prefix: "user_" })), ["user_4"]);
  assertEquals(names(await env.CACHE.list({ prefix: "user%" })), ["user%5"]);
  assertEquals(names(await env.CACHE.list({ prefix: "*" })), []);
  assertEquals((await env.CACHE.list({ prefix: "" })).keys.length, 8);
  assertEquals((await env.CACHE.list({ prefix: null })).keys.length, 8);
});

test("pages follow each other by their cursor and the last has none", async (env) => {
  for (let n = 0; n < 7; n++) await env.CACHE.put(`key${n}`, "v");
  const seen: string[] = [];
  let cursor: string | undefined;
  let pages = 0;
  do {
    const page: any = await env.CACHE.list({ limit: 3, cursor });
    seen.push(...names(page));
    pages++;
    assertEquals("cursor" in page, !page.list_complete);
    assertEquals(page.cacheStatus, null);
    cursor = page.cursor;
  } while (cursor !== undefined);
  assertEquals(pages, 3);
  assertEquals(seen, ["key0", "key1", "key2", "key3", "key4", "key5", "key6"]);
});

test("a page that is exactly full and last is complete", async (env) => {
  for (const key of ["a", "b", "c"]) await env.CACHE.put(key, "v");
  const page = await env.CACHE.list({ limit: 3 });
  assertEquals([names(page), page.list_complete, "cursor" in page], [["a", "b", "c"], true, false]);
});

test("a cursor works together with a prefix", async (env) => {
  for (const key of ["a1", "b1", "b2", "b3", "c1"]) await env.CACHE.put(key, "v");
  const first = await env.CACHE.list({ prefix: "b", limit: 2 });
  const second = await env.CACHE.list({ prefix: "b", limit: 2, cursor: first.cursor });
  assertEquals([names(first), names(second), second.list_complete], [["b1", "b2"], ["b3"], true]);
});

test("keys written between two pages are seen ahead of the cursor only", async (env) => {
  for (const key of ["b", "d", "f"]) await env.CACHE.put(key, "v");
  const first = await env.CACHE.list({ limit: 2 });
  await env.CACHE.put("a", "v");
  await env.CACHE.put("e", "v");
  await env.CACHE.delete("d");
  assertEquals(names(await env.CACHE.list({ cursor: first.cursor })), ["e", "f"]);
});

test("a limit below one counts as none and one above a thousand is refused", async (env) => {
  for (let n = 0; n < 5; n++) await env.CACHE.put(`k${n}`, "v");
  for (const limit of [0, -1, undefined]) assertEquals((await env.CACHE.list({ limit })).keys.length, 5);
  assertEquals((await env.CACHE.list({ limit: 1000 })).keys.length, 5);
  await assertRejects(() => env.CACHE.list({ limit: 1001 }), {
    message: "KV GET failed: 400 Invalid key_count_limit of 1001. Please specify an integer less than 1000.",
  });
});

test("a thousand keys are a page and one more is the next", async (env) => {
  const puts = [];
  for (let n = 0; n < 1001; n++) puts.push(env.CACHE.put(`key${String(n).padStart(4, "0")}`, "v"));
  await Promise.all(puts);
  const page = await env.CACHE.list();
  assertEquals([page.keys.length, page.list_complete], [1000, false]);
  assertEquals(names(await env.CACHE.list({ cursor: page.cursor })), ["key1000"]);
});

test("a cursor nobody made is refused", async (env) => {
  await assertRejects(() => env.CACHE.list({ cursor: "%%%" }), { message: /^KV GET failed: 400 / });
});

test("polluted prototypes do not reach results", async (env) => {
  await env.CACHE.put("a", "1", { metadata: 1 });
  let seen = "";
  const trap = (name: string) => ({ configurable: true, set: () => { seen += name; }, get: () => undefined });
  const { set } = Map.prototype;
  const { push } = Array.prototype;
  let page, values;
  try {
    Map.prototype.set = () => { throw new Error("polluted"); };
    Array.prototype.push = () => { throw new Error("polluted"); };
    for (const name of ["name", "metadata", "keys"]) Object.defineProperty(Object.prototype, name, trap(name));
    values = await env.CACHE.get(["a"]);
    page = await env.CACHE.list();
  } finally {
    Map.prototype.set = set;
    Array.prototype.push = push;
    for (const name of ["name", "metadata", "keys"]) delete (Object.prototype as any)[name];
  }
  assertEquals([...values], [["a", "1"]]);
  assertEquals(page.keys, [{ name: "a", metadata: 1 }]);
  assertEquals(seen, "");
});
