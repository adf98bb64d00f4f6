// Objects in and out: contract sections 4.1 and 4.2.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const bytes = (...numbers: number[]) => new Uint8Array(numbers);
const HELLO_MD5 = "5d41402abc4b2a76b9719d911017c592";

test("an object has all its properties", async (env) => {
  const before = Date.now();
  const put = await env.STORAGE.put("key", "hello");
  for (const object of [put, await env.STORAGE.head("key"), await env.STORAGE.get("key")]) {
    assertEquals([object.key, object.size, object.etag, object.httpEtag], ["key", 5, HELLO_MD5, `"${HELLO_MD5}"`]);
    assert(/^[0-9a-f]{32}$/.test(object.version), "a version of 32 hex digits");
    assertEquals(object.version, put.version);
    assert(object.uploaded instanceof Date && Math.abs(object.uploaded.getTime() - before) < 60_000, "the time of now");
    assertEquals(object.checksums.toJSON(), { md5: HELLO_MD5 });
    assert(object.checksums.md5 instanceof ArrayBuffer && object.checksums.md5.byteLength === 16, "16 bytes");
    assertEquals(object.checksums.sha1, undefined);
    assertEquals([object.httpMetadata, object.customMetadata], [{}, {}]);
    assertEquals([object.storageClass, object.ssecKeyMd5], ["Standard", undefined]);
  }
  assertEquals(put.range, undefined);
  assertEquals((await env.STORAGE.head("key")).range, { offset: 0, length: 5 });
  assertEquals((await env.STORAGE.get("key")).range, { offset: 0, length: 5 });
});

test("what is not there is null, and deleting it is no error", async (env) => {
  assertEquals(await env.STORAGE.head("missing"), null);
  assertEquals(await env.STORAGE.get("missing"), null);
  assertEquals(await env.STORAGE.delete("missing"), undefined);
});

test("a body is read in every way, once", async (env) => {
  await env.STORAGE.put("key", '{"a":[1,"é"]}', { httpMetadata: { contentType: "application/json" } });
  const get = () => env.STORAGE.get("key");
  assertEquals(await (await get()).text(), '{"a":[1,"é"]}');
  assertEquals(await (await get()).json(), { a: [1, "é"] });
  assertEquals((await (await get()).arrayBuffer()).byteLength, 14);
  assertEquals((await (await get()).bytes()) instanceof Uint8Array, true);
  const blob = await (await get()).blob();
  assertEquals([blob.type, blob.size], ["application/json", 14]);
  const object = await get();
  assert(object.body instanceof ReadableStream, "a ReadableStream");
  assertEquals(object.bodyUsed, false);
  let whole = "";
  for await (const chunk of object.body) whole += new TextDecoder().decode(chunk);
  assertEquals(whole, '{"a":[1,"é"]}');
  assertEquals(object.bodyUsed, true);
  await assertRejects(() => object.text(), {
    name: "TypeError",
    message: "Body has already been used. It can only be used once. Use tee() first if you need to read it twice.",
  });
});

test("an object from head or put has no body", async (env) => {
  assertEquals((await env.STORAGE.put("key", "x")).body, undefined);
  assertEquals((await env.STORAGE.head("key")).text, undefined);
});

test("text, buffers, views, blobs and null are values", async (env) => {
  const stored = async (value: unknown) => {
    await env.STORAGE.put("key", value);
    return await (await env.STORAGE.get("key")).bytes();
  };
  const all = bytes(0, 255, 128, 7);
  assertEquals(await stored("é"), bytes(195, 169));
  assertEquals(await stored(""), bytes());
  assertEquals(await stored(null), bytes());
  assertEquals(await stored(all), all);
  assertEquals(await stored(all.buffer), all);
  assertEquals(await stored(all.subarray(1, 3)), bytes(255, 128));
  assertEquals(await stored(new DataView(all.buffer, 1, 2)), bytes(255, 128));
  assertEquals(await stored(new Uint16Array(all.buffer)), all);
  assertEquals(await stored(new Blob([all, "x"])), bytes(0, 255, 128, 7, 120));
  assertEquals(await stored(new Blob([])), bytes());
});

test("any other value is a TypeError", async (env) => {
  for (const value of [5, true, {}, [1], () => 1, new Date()]) {
    await assertRejects(() => env.STORAGE.put("key", value), { name: "TypeError", message: /parameter 2 is not of type/ });
  }
  assertEquals(await env.STORAGE.head("key"), null);
});

test("put replaces bytes, metadata and version", async (env) => {
  const first = await env.STORAGE.put("key", "x".repeat(100_000), { customMetadata: { a: "b" } });
  const second = await env.STORAGE.put("key", "y");
  assert(first.version !== second.version, "another version");
  const object = await env.STORAGE.get("key");
  assertEquals([await object.text(), object.customMetadata, object.size], ["y", {}, 1]);
});

test("delete takes several keys", async (env) => {
  for (const key of ["a", "b", "c"]) await env.STORAGE.put(key, key);
  await env.STORAGE.delete(["a", "c", "missing"]);
  await env.STORAGE.delete([]);
  assertEquals((await env.STORAGE.list()).objects.map((object: any) => object.key), ["b"]);
  await assertRejects(() => env.STORAGE.delete(new Array(1001).fill("x")), {
    message: "delete: at most 1000 keys can be deleted at once, not 1001 (10029)",
  });
});

test("any text is a key, up to 1024 bytes", async (env) => {
  for (const key of ["", "../../x", "a\u0000b", "😀", "é".repeat(512)]) {
    await env.STORAGE.put(key, key);
    assertEquals(await (await env.STORAGE.get(key)).text(), key);
  }
  const long = "x".repeat(1025);
  await assertRejects(() => env.STORAGE.head(long), { message: "head: The specified object name is not valid. (10020)" });
  await assertRejects(() => env.STORAGE.get(long), { message: "get: The specified object name is not valid. (10020)" });
  await assertRejects(() => env.STORAGE.put(long, ""), { message: "put: The specified object name is not valid. (10020)" });
  await assertRejects(() => env.STORAGE.delete(long), {
    message: "delete: The specified object name is not valid. (10020)",
  });
});

test("an object goes into JSON with its checksums", async (env) => {
  await env.STORAGE.put("key", "hello", { customMetadata: { a: "b" } });
  const told = JSON.parse(JSON.stringify(await env.STORAGE.head("key")));
  assertEquals([told.key, told.size, told.checksums, told.customMetadata], ["key", 5, { md5: HELLO_MD5 }, { a: "b" }]);
});

test("the classes cannot be constructed", async (env) => {
  const object = await env.STORAGE.put("key", "x");
  for (const instance of [env.STORAGE, object, await env.STORAGE.get("key")]) {
    assertThrows(() => new instance.constructor(), { name: "TypeError", message: "Illegal constructor" });
  }
  assertEquals(Object.prototype.toString.call(object), "[object R2Object]");
});

test("encryption with an own key is refused, not ignored", async (env) => {
  const message = /: ssecKey is not supported: objects are not encrypted here \(10029\)$/;
  const options = { ssecKey: "00".repeat(32) };
  await assertRejects(() => env.STORAGE.put("key", "x", options), { message });
  await assertRejects(() => env.STORAGE.get("key", options), { message });
  await assertRejects(() => env.STORAGE.createMultipartUpload("key", options), { message });
});
