// Values in and out: contract sections 2.1 and 2.2.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const bytes = (...numbers: number[]) => new Uint8Array(numbers);
const text = (stream: ReadableStream) => new Response(stream).text();

test("a text comes back, and put returns nothing", async (env) => {
  assertEquals(await env.CACHE.put("key", "value"), undefined);
  assertEquals(await env.CACHE.get("key"), "value");
  assertEquals(await env.CACHE.get("key", "text"), "value");
  assertEquals(await env.CACHE.get("key", { type: "text" }), "value");
  assertEquals(await env.CACHE.get("key", {}), "value");
  assertEquals(await env.CACHE.get("key", null), "value");
});

test("a key that is not there is null in every type", async (env) => {
  for (const type of [undefined, "text", "json", "arrayBuffer", "stream", { type: "json" }]) {
    assertEquals(await env.CACHE.get("missing", type), null);
  }
});

test("put replaces, also a longer value by a shorter one", async (env) => {
  await env.CACHE.put("key", "x".repeat(10_000), { metadata: { old: true } });
  await env.CACHE.put("key", "y");
  assertEquals(await env.CACHE.getWithMetadata("key"), { value: "y", metadata: null, cacheStatus: null });
});

test("an empty value is a value", async (env) => {
  await env.CACHE.put("empty", "");
  assertEquals(await env.CACHE.get("empty"), "");
  assertEquals(await env.CACHE.get("empty", "arrayBuffer"), new ArrayBuffer(0));
  assertEquals(await text(await env.CACHE.get("empty", "stream")), "");
  await assertRejects(() => env.CACHE.get("empty", "json"), { name: "SyntaxError", message: /JSON/ });
});

test("json is parsed, and what is none rejects with a SyntaxError", async (env) => {
  await env.CACHE.put("json", '{"a":[1,null,"x"]}');
  assertEquals(await env.CACHE.get("json", "json"), { a: [1, null, "x"] });
  assertEquals(await env.CACHE.get("json", { type: "json" }), { a: [1, null, "x"] });
  await env.CACHE.put("broken", "{");
  await assertRejects(() => env.CACHE.get("broken", "json"), { name: "SyntaxError", message: /JSON/ });
});

test("arrayBuffer gives bytes", async (env) => {
  await env.CACHE.put("bytes", bytes(0, 255, 128));
  const value = await env.CACHE.get("bytes", "arrayBuffer");
  assert(value instanceof ArrayBuffer, "an ArrayBuffer");
  assertEquals(value, bytes(0, 255, 128).buffer);
});

test("stream gives a stream of bytes that can be read with BYOB", async (env) => {
  await env.CACHE.put("stream", "some text");
  const stream = await env.CACHE.get("stream", "stream");
  assert(stream instanceof ReadableStream, "a ReadableStream");
  const { value, done } = await stream.getReader({ mode: "byob" }).read(new Uint8Array(4));
  assertEquals([done, new TextDecoder().decode(value)], [false, "some"]);
  assertEquals(await text(await env.CACHE.get("stream", { type: "stream" })), "some text");
});

test("bytes that are no UTF-8 are text with replacement characters", async (env) => {
  await env.CACHE.put("latin1", bytes(0x61, 0xe9, 0x62));
  assertEquals(await env.CACHE.get("latin1"), "a\ufffdb");
  assertEquals(await env.CACHE.get("latin1", "arrayBuffer"), bytes(0x61, 0xe9, 0x62).buffer);
});

test("texts of all characters are stored as UTF-8", async (env) => {
  for (const value of ["grün", "漢字 😀", "a\u0000b", "\ufeffbom"]) {
    await env.CACHE.put("t", value);
    assertEquals(await env.CACHE.get("t", "arrayBuffer"), new TextEncoder().encode(value).buffer);
  }
  await env.CACHE.put("t", "漢字 😀");
  assertEquals(await env.CACHE.get("t"), "漢字 😀");
});

test("an ArrayBuffer and every kind of view can be put", async (env) => {
  const buffer = bytes(1, 2, 3, 4, 5, 6, 7, 8).buffer;
  for (
    const [value, expected] of [
      [buffer, bytes(1, 2, 3, 4, 5, 6, 7, 8)],
      [new Uint8Array(buffer, 2, 3), bytes(3, 4, 5)],
      [new Uint16Array(buffer, 2, 1), bytes(3, 4)],
      [new DataView(buffer, 6), bytes(7, 8)],
      [new Float64Array(buffer), bytes(1, 2, 3, 4, 5, 6, 7, 8)],
    ] as [unknown, Uint8Array][]
  ) {
    await env.CACHE.put("view", value);
    assertEquals(await env.CACHE.get("view", "arrayBuffer"), expected.slice().buffer);
  }
});

test("a stream can be put", async (env) => {
  await env.CACHE.put("stream", new Response("from a response").body);
  assertEquals(await env.CACHE.get("stream"), "from a response");
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  const put = env.CACHE.put("stream", readable);
  await writer.write(bytes(65, 66));
  await writer.write(new Uint16Array([0x4443]));
  await writer.close();
  await put;
  assertEquals(await env.CACHE.get("stream"), "ABCD");
});

test("a large stream in many chunks comes back whole", async (env) => {
  let left = 200;
  const stream = new ReadableStream({
    pull(controller) {
      if (left-- === 0) controller.close();
      else controller.enqueue(new Uint8Array(10_000).fill(left));
    },
  });
  await env.CACHE.put("large", stream);
  const value = new Uint8Array(await env.CACHE.get("large", "arrayBuffer"));
  assertEquals([value.length, value[0], value[10_000], value.at(-1)], [2_000_000, 199, 198, 0]);
});

test("a stream of texts, a locked one and a failing one are refused", async (env) => {
  const texts = new ReadableStream({ start: (controller) => { controller.enqueue("text"); controller.close(); } });
  await assertRejects(() => env.CACHE.put("k", texts), { name: "TypeError", message: "This ReadableStream did not return bytes." });
  const locked = new Response("x").body!;
  locked.getReader();
  await assertRejects(() => env.CACHE.put("k", locked), {
    name: "TypeError",
    message: "This ReadableStream is currently locked to a reader.",
  });
  const failing = new ReadableStream({ start: (controller) => controller.error(new RangeError("mine")) });
  await assertRejects(() => env.CACHE.put("k", failing), { name: "RangeError", message: "mine" });
  assertEquals(await env.CACHE.get("k"), null);
});

test("values of other kinds are refused", async (env) => {
  for (const value of [{}, [], new Date(), new Map(), () => 1, new Blob(["x"])]) {
    await assertRejects(() => env.CACHE.put("key", value), {
      name: "TypeError",
      message: "KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values.",
    });
  }
});

test("primitive values are stored as their text", async (env) => {
  for (const [value, expected] of [[5, "5"], [true, "true"], [10n, "10"]]) {
    await env.CACHE.put("key", value);
    assertEquals(await env.CACHE.get("key"), expected);
  }
});

test("keys that name nothing are refused", async (env) => {
  const cases = [
    ["", "Key name cannot be empty."],
    [".", '"." is not allowed as a key name.'],
    ["..", '".." is not allowed as a key name.'],
  ];
  for (const [key, message] of cases) {
    for (const run of [
      () => env.CACHE.get(key), () => env.CACHE.get(key, "json"), () => env.CACHE.getWithMetadata(key),
      () => env.CACHE.put(key, "v"), () => env.CACHE.delete(key),
    ]) {
      await assertRejects(run, { name: "TypeError", message });
    }
  }
});

test("a key has at most 512 bytes", async (env) => {
  const longest = "é".repeat(256);
  await env.CACHE.put(longest, "v");
  assertEquals(await env.CACHE.get(longest), "v");
  const text = "414 UTF-8 encoded length of 513 exceeds key length limit of 512.";
  const key = "k".repeat(513);
  await assertRejects(() => env.CACHE.get(key), { message: `KV GET failed: ${text}` });
  await assertRejects(() => env.CACHE.getWithMetadata(key), { message: `KV GET failed: ${text}` });
  await assertRejects(() => env.CACHE.put(key, "v"), { message: `KV PUT failed: ${text}` });
  await assertRejects(() => env.CACHE.delete(key), { message: `KV DELETE failed: ${text}` });
});

test("keys are case-sensitive and may hold anything", async (env) => {
  for (const key of ["Key", "key", "a/b", "a b", "%2F", "漢字", "😀", "a:b?c=d#e", "...", "*", "_", "\u0000x"]) {
    await env.CACHE.put(key, `value of ${key}`);
  }
  assertEquals(await env.CACHE.get("Key"), "value of Key");
  assertEquals(await env.CACHE.get("key"), "value of key");
  assertEquals(await env.CACHE.get("KEY"), null);
  assertEquals(await env.CACHE.get("\u0000x"), "value of \u0000x");
  assertEquals(await env.CACHE.get("%2F"), "value of %2F");
  assertEquals(await env.CACHE.get("/"), null);
});

test("a key that is a number is its text", async (env) => {
  await env.CACHE.put(5, "five");
  assertEquals(await env.CACHE.get("5"), "five");
});

test("an unknown type is a TypeError once there is a value", async (env) => {
  assertEquals(await env.CACHE.get("missing", "blob"), null);
  await env.CACHE.put("key", "v");
  const expected = {
    name: "TypeError",
    message: 'Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".',
  };
  await assertRejects(() => env.CACHE.get("key", "blob"), expected);
  await assertRejects(() => env.CACHE.getWithMetadata("key", { type: "blob" }), expected);
});

test("a cacheTtl under thirty seconds is refused", async (env) => {
  await env.CACHE.put("key", "v");
  assertEquals(await env.CACHE.get("key", { cacheTtl: 30 }), "v");
  await assertRejects(() => env.CACHE.get("key", { cacheTtl: 10 }), {
    message: "KV GET failed: 400 Invalid cache_ttl of 10. Cache TTL must be at least 30.",
  });
});

test("a value of 25 MiB fits and one byte more does not", async (env) => {
  const limit = 26_214_400;
  await env.CACHE.put("big", new Uint8Array(limit));
  assertEquals((await env.CACHE.get("big", "arrayBuffer")).byteLength, limit);
  const message = `KV PUT failed: 413 Value length of ${limit + 1} exceeds limit of ${limit}.`;
  await assertRejects(() => env.CACHE.put("big", new Uint8Array(limit + 1)), { message });
  await assertRejects(() => env.CACHE.put("big", new Response(new Uint8Array(limit + 1)).body), { message });
});

test("delete returns nothing and may be repeated", async (env) => {
  await env.CACHE.put("key", "v");
  assertEquals(await env.CACHE.delete("key"), undefined);
  assertEquals(await env.CACHE.delete("key"), undefined);
  assertEquals(await env.CACHE.get("key"), null);
  assertEquals((await env.CACHE.list()).keys, []);
});

test("fifty writes at once all happen", async (env) => {
  await Promise.all(Array.from({ length: 50 }, (_, n) => env.CACHE.put(`key${n}`, String(n))));
  const values = await Promise.all(Array.from({ length: 50 }, (_, n) => env.CACHE.get(`key${n}`)));
  assertEquals(values, Array.from({ length: 50 }, (_, n) => String(n)));
});

test("the last of several writes to a key stands", async (env) => {
  for (let n = 0; n < 20; n++) await env.CACHE.put("key", String(n));
  assertEquals(await env.CACHE.get("key"), "19");
});

test("the class is KvNamespace and cannot be constructed", async (env) => {
  assertEquals(Object.prototype.toString.call(env.CACHE), "[object KvNamespace]");
  let error;
  try {
    new env.CACHE.constructor();
  } catch (thrown) {
    error = thrown;
  }
  assert(error instanceof TypeError && error.message === "Illegal constructor", String(error));
});
