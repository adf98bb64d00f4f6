// Listings: contract section 4.5.

import { assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const keys = (page: any) => page.objects.map((object: any) => object.key);
const fill = async (env: any, names: string[]) => {
  for (const name of names) await env.STORAGE.put(name, name);
};

test("an empty bucket has an empty page", async (env) => {
  assertEquals(await env.STORAGE.list(), { objects: [], truncated: false, delimitedPrefixes: [] });
});

test("keys come in the order of their UTF-8 bytes", async (env) => {
  await fill(env, ["b", "😀", "\ufffd", "a", "A", "é", ""]);
  assertEquals(keys(await env.STORAGE.list()), ["", "A", "a", "b", "é", "\ufffd", "😀"]);
});

test("pages follow each other by their cursors", async (env) => {
  await fill(env, ["a", "b", "c", "d", "e"]);
  const first = await env.STORAGE.list({ limit: 2 });
  assertEquals([keys(first), first.truncated, typeof first.cursor], [["a", "b"], true, "string"]);
  const second = await env.STORAGE.list({ limit: 2, cursor: first.cursor });
  const third = await env.STORAGE.list({ limit: 2, cursor: second.cursor });
  assertEquals([keys(second), keys(third), third.truncated, "cursor" in third], [["c", "d"], ["e"], false, false]);
  assertEquals(keys(await env.STORAGE.list({ startAfter: "c" })), ["d", "e"]);
  assertEquals(keys(await env.STORAGE.list({ startAfter: "cc", prefix: "d" })), ["d"]);
  assertEquals(keys(await env.STORAGE.list({ cursor: "bad" })), []);
});

test("a delimiter groups keys, and groups count toward the limit", async (env) => {
  await fill(env, ["a", "b/1", "b/2", "c/d/1", "e"]);
  const all = await env.STORAGE.list({ delimiter: "/" });
  assertEquals([keys(all), all.delimitedPrefixes, all.truncated], [["a", "e"], ["b/", "c/"], false]);
  const below = await env.STORAGE.list({ delimiter: "/", prefix: "c/" });
  assertEquals([keys(below), below.delimitedPrefixes], [[], ["c/d/"]]);
  const first = await env.STORAGE.list({ delimiter: "/", limit: 2 });
  assertEquals([keys(first), first.delimitedPrefixes, first.truncated], [["a"], ["b/"], true]);
  const second = await env.STORAGE.list({ delimiter: "/", limit: 2, cursor: first.cursor });
  assertEquals([keys(second), second.delimitedPrefixes, second.truncated], [["e"], ["c/"], false]);
});

test("metadata is hidden unless it is asked for", async (env) => {
  await env.STORAGE.put("key", "x", { httpMetadata: { contentType: "a/b" }, customMetadata: { c: "d" } });
  const list = async (include?: string[]) => (await env.STORAGE.list({ include })).objects[0];
  const plain = await list();
  assertEquals([plain.httpMetadata, plain.customMetadata, plain.size, plain.range], [{}, {}, 1, undefined]);
  assertEquals(typeof plain.checksums.toJSON().md5, "string");
  const both = await list(["httpMetadata", "customMetadata"]);
  assertEquals([both.httpMetadata, both.customMetadata], [{ contentType: "a/b" }, { c: "d" }]);
  assertEquals((await list(["customMetadata"])).httpMetadata, {});
  const headers = new Headers();
  plain.writeHttpMetadata(headers);
  assertEquals([...headers], []);
  await assertRejects(() => env.STORAGE.list({ include: ["body"] }), {
    name: "RangeError",
    message: "Unsupported include value body",
  });
});

test("a limit is between 1 and 1000", async (env) => {
  for (const limit of [0, -1, 1001, NaN, "many"]) {
    await assertRejects(() => env.STORAGE.list({ limit }), {
      message: "list: MaxKeys params must be positive integer <= 1000. (10022)",
    });
  }
  assertEquals((await env.STORAGE.list({ limit: 1000 })).truncated, false);
});
