// Metadata and lifetimes: contract sections 2.1 to 2.3.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const now = () => Math.floor(Date.now() / 1000);

test("metadata comes back as it was given", async (env) => {
  const metadata = { tags: ["a", "b"], nested: { n: 1.5, no: null }, text: "漢字" };
  await env.CACHE.put("key", "v", { metadata });
  assertEquals(await env.CACHE.getWithMetadata("key"), { value: "v", metadata, cacheStatus: null });
  assertEquals((await env.CACHE.list()).keys, [{ name: "key", metadata }]);
});

test("falsy metadata is kept", async (env) => {
  for (const metadata of [0, "", false]) {
    await env.CACHE.put("key", "v", { metadata });
    assertEquals((await env.CACHE.getWithMetadata("key")).metadata, metadata);
    assertEquals((await env.CACHE.list()).keys, [{ name: "key", metadata }]);
  }
});

test("null and undefined are no metadata", async (env) => {
  for (const metadata of [null, undefined]) {
    await env.CACHE.put("key", "v", { metadata });
    assertEquals((await env.CACHE.getWithMetadata("key")).metadata, null);
    assertEquals((await env.CACHE.list()).keys, [{ name: "key" }]);
  }
});

test("getWithMetadata of a missing key has all members, null", async (env) => {
  assertEquals(await env.CACHE.getWithMetadata("missing"), { value: null, metadata: null, cacheStatus: null });
  assertEquals(await env.CACHE.getWithMetadata("missing", "json"), { value: null, metadata: null, cacheStatus: null });
});

test("getWithMetadata reads every type", async (env) => {
  await env.CACHE.put("key", '{"a":1}', { metadata: 5 });
  assertEquals((await env.CACHE.getWithMetadata("key", "text")).value, '{"a":1}');
  assertEquals((await env.CACHE.getWithMetadata("key", "json")).value, { a: 1 });
  assertEquals((await env.CACHE.getWithMetadata("key", { type: "arrayBuffer" })).value.byteLength, 7);
  const { value, metadata } = await env.CACHE.getWithMetadata("key", "stream");
  assertEquals([await new Response(value).text(), metadata], ['{"a":1}', 5]);
});

test("metadata has at most 1024 bytes of JSON", async (env) => {
  await env.CACHE.put("key", "v", { metadata: "x".repeat(1022) });
  await assertRejects(() => env.CACHE.put("key", "v", { metadata: "x".repeat(1023) }), {
    message: "KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024.",
  });
});

test("metadata that is no JSON fails as JSON.stringify does", async (env) => {
  const circular: any = {};
  circular.self = circular;
  await assertRejects(() => env.CACHE.put("key", "v", { metadata: circular }), { name: "TypeError", message: /circular/ });
  await assertRejects(() => env.CACHE.put("key", "v", { metadata: 5n }), { name: "TypeError", message: /BigInt/ });
});

test("a ttl under a minute is refused", async (env) => {
  await assertRejects(() => env.CACHE.put("key", "v", { expirationTtl: 59 }), {
    message: "KV PUT failed: 400 Invalid expiration_ttl of 59. Expiration TTL must be at least 60.",
  });
  assertEquals(await env.CACHE.get("key"), null);
});

test("a ttl of nothing, of less and of no number is refused", async (env) => {
  for (const [expirationTtl, shown] of [[0, "0"], [-5, "-5"], [NaN, "0"], ["x", "0"], [null, "0"]] as [any, string][]) {
    await assertRejects(() => env.CACHE.put("key", "v", { expirationTtl }), {
      message: `KV PUT failed: 400 Invalid expiration_ttl of ${shown}. Please specify integer greater than 0.`,
    });
  }
});

test("a ttl of a minute is listed as its expiration", async (env) => {
  const before = now();
  await env.CACHE.put("key", "v", { expirationTtl: 60 });
  const [{ expiration }] = (await env.CACHE.list()).keys;
  assert(expiration >= before + 60 && expiration <= now() + 60, `${expiration} is a minute from now`);
  assertEquals(await env.CACHE.get("key"), "v");
});

test("a ttl may be a text of digits", async (env) => {
  await env.CACHE.put("key", "v", { expirationTtl: "3600" });
  assert((await env.CACHE.list()).keys[0].expiration >= now() + 3590, "an hour from now");
});

test("an expiration is kept exactly", async (env) => {
  const expiration = now() + 1000;
  await env.CACHE.put("key", "v", { expiration });
  assertEquals((await env.CACHE.list()).keys, [{ name: "key", expiration }]);
});

test("an expiration in the past or too near is refused", async (env) => {
  const past = now() - 10;
  await assertRejects(() => env.CACHE.put("key", "v", { expiration: past }), {
    message:
      `KV PUT failed: 400 Invalid expiration of ${past}. Please specify integer greater than the current number of seconds since the UNIX epoch.`,
  });
  const near = now() + 30;
  await assertRejects(() => env.CACHE.put("key", "v", { expiration: near }), {
    message: `KV PUT failed: 400 Invalid expiration of ${near}. Expiration times must be at least 60 seconds in the future.`,
  });
});

test("expirationTtl wins over expiration", async (env) => {
  await env.CACHE.put("key", "v", { expiration: now() + 100_000, expirationTtl: 60 });
  assert((await env.CACHE.list()).keys[0].expiration <= now() + 60, "a minute from now");
});

test("a later put without a ttl lives for ever", async (env) => {
  await env.CACHE.put("key", "v", { expirationTtl: 60, metadata: 1 });
  await env.CACHE.put("key", "v");
  assertEquals((await env.CACHE.list()).keys, [{ name: "key" }]);
});

test("options are read from getters once", async (env) => {
  const read: string[] = [];
  const options = {
    get expirationTtl() { read.push("expirationTtl"); return 60; },
    get metadata() { read.push("metadata"); return { a: 1 }; },
  };
  await env.CACHE.put("key", "v", options);
  assertEquals(read.includes("metadata"), true);
  assertEquals((await env.CACHE.getWithMetadata("key")).metadata, { a: 1 });
});
