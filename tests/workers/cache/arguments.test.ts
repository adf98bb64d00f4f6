// Arguments that are missing or of another type, in the words of workerd.

import { assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const parameter = (method: string, place: number, type: string) =>
  `Failed to execute '${method}' on 'KvNamespace': parameter ${place} is not of type '${type}'.`;

test("a call without its arguments is a TypeError, and stores nothing", async (env) => {
  const { CACHE } = env;
  assertThrows(() => CACHE.get(), { name: "TypeError", message: parameter("get", 1, "string or Array") });
  assertThrows(() => CACHE.getWithMetadata(), {
    name: "TypeError",
    message: parameter("getWithMetadata", 1, "Array or string"),
  });
  await assertRejects(() => CACHE.put(), { name: "TypeError", message: parameter("put", 1, "string") });
  await assertRejects(() => CACHE.put("key"), { name: "TypeError", message: parameter("put", 2, "string or JsObject") });
  await assertRejects(() => CACHE.delete(), { name: "TypeError", message: parameter("delete", 1, "string") });
  assertEquals((await CACHE.list()).keys, []);
  await CACHE.put("key", undefined);
  assertEquals(await CACHE.get("key"), "undefined");
});

test("options that hold no members are a TypeError", async (env) => {
  const { CACHE } = env;
  for (const options of [1, "x", "", true, Symbol("options"), 1n]) {
    await assertRejects(() => CACHE.put("key", "value", options), {
      name: "TypeError",
      message: parameter("put", 3, "PutOptions"),
    });
    await assertRejects(() => CACHE.list(options), { name: "TypeError", message: parameter("list", 1, "ListOptions") });
  }
  assertEquals(await CACHE.get("key"), null);
});

test("the type of a value is named exactly, and only where there is a value", async (env) => {
  const { CACHE } = env;
  await CACHE.put("key", "value");
  const expected = {
    name: "TypeError",
    message: 'Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".',
  };
  for (const type of ["", "TEXT", 1, true, null, []]) {
    await assertRejects(() => CACHE.get("key", { type }), expected);
    assertEquals(await CACHE.get("missing", { type }), null);
  }
  await assertRejects(() => CACHE.get("key", ""), expected);
  for (const options of [undefined, null, {}, [], () => {}]) assertEquals(await CACHE.get("key", options), "value");
  await assertRejects(() => CACHE.get("key", { cacheTtl: 100n }), {
    name: "TypeError",
    message: "Cannot convert a BigInt value to a number",
  });
});

test("metadata of several keys has no cacheStatus", async (env) => {
  const { CACHE } = env;
  await CACHE.put("key", "value", { metadata: { a: 1 } });
  const found = await CACHE.getWithMetadata(["key", "missing"]);
  assertEquals([...found], [["key", { value: "value", metadata: { a: 1 } }], ["missing", null]]);
});
