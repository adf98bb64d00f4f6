// What a producer may send, and what it gets back: contract section 3.1.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const backlogOf = (sent: any) => sent.metadata.metrics;

test("send resolves to the metrics of the queue, the message included", async (env) => {
  const before = Date.now();
  const sent = await env.QUEUE.send({ first: true });
  const { oldestMessageTimestamp, ...counts } = backlogOf(sent);
  assertEquals(counts, { backlogCount: 1, backlogBytes: '{"first":true}'.length });
  assert(oldestMessageTimestamp instanceof Date, "a Date");
  const age = oldestMessageTimestamp.getTime() - before;
  assert(age >= 0 && age < 10_000, `sent ${age} ms after the test began`);
  assertEquals(Object.keys(sent), ["metadata"]);
  assertEquals(Object.keys(sent.metadata), ["metrics"]);
  const second = backlogOf(await env.QUEUE.send(2));
  assertEquals(second.backlogCount, 2);
  assertEquals(second.oldestMessageTimestamp, oldestMessageTimestamp);
});

test("metrics of an empty queue have no timestamp", async (env) => {
  assertEquals(await env.QUEUE.metrics(), { backlogCount: 0, backlogBytes: 0 });
});

test("metrics count what was sent, delayed messages too", async (env) => {
  await env.QUEUE.send("ab");
  await env.QUEUE.send("abcd", { contentType: "text", delaySeconds: 600 });
  await env.QUEUE.send(new Uint8Array(5), { contentType: "bytes" });
  const { backlogCount, backlogBytes } = await env.QUEUE.metrics();
  assertEquals([backlogCount, backlogBytes], [3, '"ab"'.length + 4 + 5]);
});

test("every JSON value can be sent, and JSON is the default", async (env) => {
  let bytes = 0;
  for (const body of [null, false, 0, -1.5, "", "漢字", [], [1, [2]], {}, { a: { b: null } }, { toJSON: () => 5 }]) {
    bytes += new TextEncoder().encode(JSON.stringify(body)).length;
    assertEquals(backlogOf(await env.QUEUE.send(body)).backlogBytes, bytes);
  }
  bytes += '{"a":1}'.length;
  assertEquals(backlogOf(await env.QUEUE.send({ a: 1 }, { contentType: "json" })).backlogBytes, bytes);
});

test("a body of undefined is refused, whatever its type", async (env) => {
  for (const options of [undefined, {}, ...["json", "text", "bytes", "v8"].map((contentType) => ({ contentType }))]) {
    const expected = { name: "TypeError", message: "Message body cannot be undefined" };
    await assertRejects(() => env.QUEUE.send(undefined, options), expected);
    await assertRejects(() => env.QUEUE.sendBatch([{ body: 1 }, { body: undefined, ...options }]), expected);
  }
  assertEquals((await env.QUEUE.metrics()).backlogCount, 0);
});

test("a body that JSON cannot hold is refused", async (env) => {
  for (const [body, received] of [[() => 1, "function"], [Symbol("s"), "symbol"]]) {
    await assertRejects(() => env.QUEUE.send(body), {
      name: "TypeError",
      message: `Content Type "json" requires a value that JSON can hold, but received: ${String(received)}`,
    });
  }
  await assertRejects(() => env.QUEUE.send(1n), { name: "TypeError", message: "Do not know how to serialize a BigInt" });
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  await assertRejects(() => env.QUEUE.send(cycle), { name: "TypeError", message: /^Converting circular structure/ });
  const thrown = new RangeError("mine");
  const throwing = { toJSON() { throw thrown; } };
  assert(await assertRejects(() => env.QUEUE.send(throwing), { name: "RangeError", message: "mine" }) === thrown);
});

test("text is a string and nothing else", async (env) => {
  assertEquals(backlogOf(await env.QUEUE.send("ä", { contentType: "text" })).backlogBytes, 2);
  assertEquals(backlogOf(await env.QUEUE.send("", { contentType: "text" })).backlogBytes, 2);
  for (const [body, received] of [
    [{}, "object"], [null, "object"], [new String("s"), "object"], [1, "number"], [1n, "bigint"], [true, "boolean"],
    [() => 1, "function"], [Symbol("s"), "symbol"], [new Uint8Array(1), "object"],
  ]) {
    await assertRejects(() => env.QUEUE.send(body, { contentType: "text" }), {
      name: "TypeError",
      message: `Content Type "text" requires a value of type string, but received: ${String(received)}`,
    });
  }
});

test("bytes are any view, and only what it shows of its buffer", async (env) => {
  const { buffer } = new Uint8Array(100);
  let bytes = 0;
  for (const view of [
    new Uint8Array(buffer, 10, 3), new Float64Array(buffer, 8, 2), new DataView(buffer, 1, 7), new Uint8Array(0),
    new BigInt64Array(1), new Uint8ClampedArray(4), new Int16Array(2),
  ]) {
    bytes += view.byteLength;
    assertEquals(backlogOf(await env.QUEUE.send(view, { contentType: "bytes" })).backlogBytes, bytes);
  }
});

test("bytes are nothing but views, an ArrayBuffer is none", async (env) => {
  for (const [body, received] of [
    ["text", "string"], [{}, "object"], [null, "object"], [[1, 2], "object"], [new ArrayBuffer(2), "object"], [5, "number"],
  ]) {
    const message = `Content Type "bytes" requires a value of type ArrayBufferView, but received: ${String(received)}`;
    await assertRejects(() => env.QUEUE.send(body, { contentType: "bytes" }), { name: "TypeError", message });
    await assertRejects(() => env.QUEUE.sendBatch([{ body, contentType: "bytes" }]), { name: "TypeError", message });
  }
});

test("what is sent is what there was when send was called", async (env) => {
  const bytes = new Uint8Array([1, 2, 3]);
  const list = [1];
  const sending = [env.QUEUE.send(bytes, { contentType: "bytes" }), env.QUEUE.send(list)];
  list.push(2, 3, 4);
  await Promise.all(sending);
  assertEquals((await env.QUEUE.metrics()).backlogBytes, 3 + "[1]".length);
});

test("v8 takes everything that can be cloned", async (env) => {
  const cycle: Record<string, unknown> = { list: [] };
  cycle.self = cycle;
  const bodies = [
    new Map([["k", new Set([1n])]]), new Date(0), /x/g, new Float32Array(3), new ArrayBuffer(4), cycle, new RangeError("e"),
    null, 0, "s", -0, NaN,
  ];
  for (const [place, body] of bodies.entries()) {
    assertEquals(backlogOf(await env.QUEUE.send(body, { contentType: "v8" })).backlogCount, place + 1);
  }
});

test("v8 refuses what cannot be cloned with a DataCloneError", async (env) => {
  const bodies = [() => 1, Symbol("s"), { deep: [() => 1] }, new WeakMap(), Promise.resolve(1)];
  for (const body of bodies) {
    const expected = { name: "DataCloneError", message: /could not be cloned/ };
    const error = await assertRejects(() => env.QUEUE.send(body, { contentType: "v8" }), expected);
    assert(error instanceof DOMException, "a DOMException");
    await assertRejects(() => env.OLD_QUEUE.send(body), expected);
  }
  const platform = [new FormData(), { deep: [new Event("x")] }, AbortSignal.abort(), new TextEncoder(), crypto.subtle];
  for (const body of [...platform, env, { queue: env.QUEUE }]) {
    const expected = { name: "DataCloneError", message: /^Could not serialize object of type/ };
    await assertRejects(() => env.QUEUE.send(body, { contentType: "v8" }), expected);
    await assertRejects(() => env.OLD_QUEUE.send(body), expected);
  }
  assertEquals((await env.QUEUE.metrics()).backlogCount, 0);
});

test("v8 refuses memory that is shared, which another process could never see", async (env) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  await assertRejects(() => env.QUEUE.send(memory.buffer, { contentType: "v8" }), { message: /could not be cloned/ });
  assertEquals((await env.QUEUE.metrics()).backlogCount, 0);
});

test("content types are known in any case, and unknown ones are named", async (env) => {
  await env.QUEUE.send("x", { contentType: "TEXT" });
  await env.QUEUE.send(new Uint8Array(1), { contentType: "Bytes" });
  await env.QUEUE.send(1, { contentType: "Json" });
  await env.QUEUE.send(1, { contentType: "V8" });
  for (const contentType of ["xml", "", "JSON ", "__proto__", "constructor", null, 5]) {
    const expected = { name: "TypeError", message: `Unsupported queue message content type: ${contentType}` };
    await assertRejects(() => env.QUEUE.send("x", { contentType }), expected);
    await assertRejects(() => env.QUEUE.sendBatch([{ body: "x", contentType }]), expected);
  }
  assertEquals((await env.QUEUE.metrics()).backlogCount, 4);
});

test("an undefined or missing option is no option", async (env) => {
  for (const options of [undefined, null, {}, { contentType: undefined, delaySeconds: undefined }, { other: 1 }]) {
    await env.QUEUE.send({ a: 1 }, options);
  }
  const { backlogCount, backlogBytes } = await env.QUEUE.metrics();
  assertEquals([backlogCount, backlogBytes], [5, 5 * '{"a":1}'.length]);
});

test("a message has 128000 bytes at most", async (env) => {
  await env.QUEUE.send("x".repeat(128_000), { contentType: "text" });
  await env.QUEUE.send("x".repeat(127_998));
  await assertRejects(() => env.QUEUE.send("x".repeat(128_001), { contentType: "text" }), {
    message: "Queue send failed: message length of 128001 bytes exceeds limit of 128000",
  });
  await assertRejects(() => env.QUEUE.send("x".repeat(128_000)), {
    message: "Queue send failed: message length of 128002 bytes exceeds limit of 128000",
  });
  await assertRejects(() => env.QUEUE.send("ä".repeat(64_001), { contentType: "text" }), {
    message: "Queue send failed: message length of 128002 bytes exceeds limit of 128000",
  });
  await assertRejects(() => env.QUEUE.send(new Uint8Array(200_000), { contentType: "bytes" }), {
    message: "Queue send failed: message length of 200000 bytes exceeds limit of 128000",
  });
  assertEquals((await env.QUEUE.metrics()).backlogCount, 2);
});

test("a delay is a whole number of seconds up to a day", async (env) => {
  for (const delaySeconds of [0, 1, 86_400, 1.9, "30", true]) await env.QUEUE.send(1, { delaySeconds });
  for (const [delaySeconds, shown] of [[-1, "-1"], [86_401, "86401"], [1e9, "1000000000"]] as const) {
    const range = "must be a whole number of seconds from 0 to 86400";
    await assertRejects(() => env.QUEUE.send(1, { delaySeconds }), {
      message: `Queue send failed: message delay ${shown} is invalid: ${range}`,
    });
    await assertRejects(() => env.QUEUE.sendBatch([{ body: 1 }, { body: 2, delaySeconds }]), {
      message: `Queue sendBatch failed: message delay ${shown} is invalid: ${range}`,
    });
    await assertRejects(() => env.QUEUE.sendBatch([{ body: 1 }], { delaySeconds }), {
      message: `Queue sendBatch failed: message delay ${shown} is invalid: ${range}`,
    });
  }
  assertEquals((await env.QUEUE.metrics()).backlogCount, 6);
});

test("a queue from before 2024-03-18 clones by default", async (env) => {
  const cloned = backlogOf(await env.OLD_QUEUE.send({ a: 1 })).backlogBytes;
  assert(cloned !== '{"a":1}'.length, `${cloned} bytes are not those of JSON`);
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  await env.OLD_QUEUE.send(cycle);
  await env.OLD_QUEUE.sendBatch([{ body: new Map() }, { body: 1n }]);
  const before = (await env.OLD_QUEUE.metrics()).backlogBytes;
  const json = backlogOf(await env.OLD_QUEUE.send({ a: 1 }, { contentType: "json" }));
  assertEquals([json.backlogCount, json.backlogBytes - before], [5, '{"a":1}'.length]);
});

test("the methods belong to a queue, and nobody else can make one", async (env) => {
  assertEquals(Object.prototype.toString.call(env.QUEUE), "[object Queue]");
  assertEquals(Object.keys(env.QUEUE), []);
  const { constructor } = Object.getPrototypeOf(env.QUEUE);
  try {
    new constructor();
  } catch (error: any) {
    assertEquals([error.name, error.message], ["TypeError", "Illegal constructor"]);
    await assertRejects(() => constructor.prototype.send.call({}, 1), { name: "TypeError", message: /./ });
    return;
  }
  throw new Error("a queue was made");
});

test("many sends at once are all there", async (env) => {
  const sent = await Promise.all(Array.from({ length: 300 }, (_, number) => env.QUEUE.send({ number })));
  const counts = sent.map((one) => backlogOf(one).backlogCount);
  assertEquals(Math.max(...counts), 300);
  assertEquals((await env.QUEUE.metrics()).backlogCount, 300);
});
