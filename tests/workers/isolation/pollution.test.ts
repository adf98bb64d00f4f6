// What user code does to the objects everything is made of does not reach the platform and the bindings.

import { assert, assertEquals, assertThrows, test } from "../testing.ts";

// Own functions of every object that scripts share, but for the few that this file itself must call while they are patched.
const SHARED: [string, any][] = [
  ["Array.prototype", Array.prototype], ["Map.prototype", Map.prototype], ["Set.prototype", Set.prototype],
  ["WeakMap.prototype", WeakMap.prototype], ["String.prototype", String.prototype], ["Number.prototype", Number.prototype],
  ["RegExp.prototype", RegExp.prototype], ["Promise.prototype", Promise.prototype], ["Promise", Promise],
  ["Function.prototype", Function.prototype], ["Date.prototype", Date.prototype], ["ArrayBuffer.prototype", ArrayBuffer.prototype],
  ["TypedArray.prototype", Object.getPrototypeOf(Uint8Array.prototype)], ["TypedArray", Object.getPrototypeOf(Uint8Array)],
  ["DataView.prototype", DataView.prototype], ["Symbol.prototype", Symbol.prototype], ["JSON", JSON], ["Math", Math],
  ["Reflect", Reflect], ["Object", Object], ["Array", Array], ["String", String], ["Number", Number],
  ["Error.prototype", Error.prototype], ["BigInt.prototype", BigInt.prototype],
  ["ArrayIteratorPrototype", Object.getPrototypeOf([][Symbol.iterator]())],
  ["MapIteratorPrototype", Object.getPrototypeOf(new Map()[Symbol.iterator]())],
  ["Headers.prototype", Headers.prototype], ["Request.prototype", Request.prototype], ["Response.prototype", Response.prototype],
  ["URL.prototype", URL.prototype], ["URLSearchParams.prototype", URLSearchParams.prototype], ["Blob.prototype", Blob.prototype],
  ["ReadableStream.prototype", ReadableStream.prototype],
  ["ReadableStreamDefaultReader.prototype", ReadableStreamDefaultReader.prototype],
  ["TextEncoder.prototype", TextEncoder.prototype], ["TextDecoder.prototype", TextDecoder.prototype],
  ["EventTarget.prototype", EventTarget.prototype], ["AbortSignal.prototype", AbortSignal.prototype],
  ["FormData.prototype", FormData.prototype], ["Symbol", Symbol],
];

const { ownKeys, getOwnPropertyDescriptor, defineProperty } = Reflect;

const BYTES = new Uint8Array([1, 2, 3]);

// Replaces functions and accessors of all shared objects, runs, and puts everything back.
async function patched(run: () => Promise<unknown>) {
  const undo: [any, PropertyKey, PropertyDescriptor][] = [];
  let count = 0;
  for (let at = 0; at < SHARED.length; at++) {
    const object = SHARED[at][1];
    const keys = ownKeys(object);
    for (let place = 0; place < keys.length; place++) {
      const key = keys[place];
      const descriptor = getOwnPropertyDescriptor(object, key)!;
      // The language itself looks for a species, whoever calls.
      if (!descriptor.configurable || key === "constructor" || key === Symbol.species) continue;
      const trap = () => {
        throw new Error(`${SHARED[at][0]}.${String(key)} was called`);
      };
      const replacement: any = { configurable: true, enumerable: descriptor.enumerable };
      if (typeof descriptor.value === "function") {
        replacement.value = trap;
        replacement.writable = true;
      } else if (descriptor.get !== undefined) {
        replacement.get = trap;
        replacement.set = descriptor.set;
      } else continue;
      undo[undo.length] = [object, key, descriptor];
      count++;
      defineProperty(object, key, replacement);
    }
  }
  let outcome: unknown;
  let failure: unknown = null;
  try {
    outcome = await run();
  } catch (error) {
    failure = error;
  }
  for (let at = 0; at < undo.length; at++) defineProperty(undo[at][0], undo[at][1], undo[at][2]);
  if (failure !== null) throw failure;
  if (count < 400) throw new Error(`only ${count} were patched`);
  return outcome;
}

// One use of a binding, and what must come of it.
const USES: [string, (env: any) => Promise<unknown>, unknown][] = [
  ["cache", async (env) => {
    await env.CACHE.put("a", "text", { metadata: { m: 1 }, expirationTtl: 600 });
    const one = await env.CACHE.get("a");
    const json = (await env.CACHE.put("j", '{"x":[1,2]}'), await env.CACHE.get("j", "json"));
    const entry = await env.CACHE.getWithMetadata("a");
    const bytes = await env.CACHE.get("a", "arrayBuffer");
    await env.CACHE.put("b", BYTES);
    const listed = await env.CACHE.list({ prefix: "a" });
    await env.CACHE.delete("b");
    return [one, json.x[1], entry.metadata.m, bytes instanceof ArrayBuffer, listed.keys[0].name, await env.CACHE.get("b")];
  }, ["text", 2, 1, true, "a", null]],
  ["database", async (env) => {
    await env.DB.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT)");
    await env.DB.prepare("DELETE FROM t").run();
    await env.DB.batch([env.DB.prepare("INSERT INTO t VALUES (?, ?)").bind(1, "one"), env.DB.prepare("INSERT INTO t VALUES (2, 'two')")]);
    const all = await env.DB.prepare("SELECT * FROM t ORDER BY id").all();
    const first = await env.DB.prepare("SELECT name FROM t WHERE id = ?").bind(2).first("name");
    const raw = await env.DB.prepare("SELECT id FROM t ORDER BY id").raw();
    return [all.results[1].name, all.results.length, first, raw[1][0]];
  }, ["two", 2, "two", 2]],
  ["queue", async (env) => {
    await env.QUEUE.send({ a: [1] });
    await env.QUEUE.send("text", { contentType: "text", delaySeconds: 1 });
    return "sent";
  }, "sent"],
  ["storage", async (env) => {
    await env.STORAGE.put("key", "value", { httpMetadata: { contentType: "text/x" }, customMetadata: { a: "b" } });
    const object = await env.STORAGE.get("key");
    const text = await object.text();
    const part = await (await env.STORAGE.get("key", { range: { offset: 1, length: 2 } })).text();
    const listed = await env.STORAGE.list({ include: ["customMetadata"] });
    const head = await env.STORAGE.head("key");
    await env.STORAGE.delete("key");
    return [text, part, listed.objects[0].customMetadata.a, head.httpMetadata.contentType, await env.STORAGE.get("key")];
  }, ["value", "al", "b", "text/x", null]],
  ["vectorize", async (env) => {
    await env.VECTORIZE.upsert([{ id: "a", values: [1, 0], metadata: { k: "v" } }, { id: "b", values: [0, 1] }]);
    const found = await env.VECTORIZE.query([1, 0], { topK: 1, returnMetadata: "all" });
    return [found.count, found.matches[0].id, found.matches[0].metadata.k];
  }, [1, "a", "v"]],
];

test("bindings call nothing that user code has replaced", async (env) => {
  for (const [name, use, expected] of USES) {
    assertEquals(await use(env), expected, `${name} before`);
    let outcome: unknown;
    try {
      outcome = await patched(() => use(env));
    } catch (error) {
      throw new Error(`${name}: ${(error as Error).stack}`);
    }
    assertEquals(outcome, expected, name);
  }
});

// Generators and asynchronous iterators, which `for await` and `yield*` go through.
const AsyncGenerator = Object.getPrototypeOf(Object.getPrototypeOf((async function* () {})()));
const Generator = Object.getPrototypeOf(Object.getPrototypeOf((function* () {})()));
const ITERATING: [any, PropertyKey][] = [
  [AsyncGenerator, "next"], [AsyncGenerator, "return"], [Object.getPrototypeOf(AsyncGenerator), Symbol.asyncIterator],
  [Generator, "next"], [Generator, "return"], [Object.getPrototypeOf(Generator), Symbol.iterator],
  [Object.getPrototypeOf(new ReadableStream()[Symbol.asyncIterator]()), "next"],
  [Object.getPrototypeOf(new ReadableStream()[Symbol.asyncIterator]()), "return"],
  [ReadableStream.prototype, Symbol.asyncIterator], [ReadableStream.prototype, "values"],
];

test("blobs, bodies and streams are read without the iterators that user code can replace", async (env) => {
  const blob = new Blob(["one", new Blob([new Uint8Array([32]), "two"]), ""], { type: "text/x" });
  const uses: [string, () => Promise<unknown>, unknown][] = [
    ["text", () => blob.text(), "one two"],
    ["arrayBuffer", async () => (await blob.slice(2, 5).arrayBuffer()).byteLength, 3],
    ["bytes", async () => (await (blob as any).bytes())[3], 32],
    ["stream", () => new Response(blob.stream()).text(), "one two"],
    ["body", () => new Response(blob).text(), "one two"],
    ["form", async () => {
      const form = new FormData();
      form.append("file", blob, "name");
      return await ((await new Response(form).formData()).get("file") as File).text();
    }, "one two"],
    ["bucket", async () => {
      await env.STORAGE.put("blob", blob);
      return await (await (await env.STORAGE.get("blob")).blob()).text();
    }, "one two"],
    ["key", async () => {
      await env.CACHE.put("blob", blob.stream());
      return await new Response(await env.CACHE.get("blob", "stream")).text();
    }, "one two"],
    ["pipes", async () => {
      const packed = blob.stream().pipeThrough(new CompressionStream("gzip"));
      const [one, other] = packed.pipeThrough(new DecompressionStream("gzip")).tee();
      const cancelled = other.cancel();
      const text = await new Response(one.pipeThrough(new TextDecoderStream()).pipeThrough(new TextEncoderStream())).text();
      await cancelled;
      return text;
    }, "one two"],
  ];
  for (const [name, use, expected] of uses) assertEquals(await use(), expected, `${name} before`);
  for (const [name, use, expected] of uses) {
    const originals: PropertyDescriptor[] = [];
    for (let at = 0; at < ITERATING.length; at++) {
      const [object, key] = ITERATING[at];
      originals[at] = getOwnPropertyDescriptor(object, key)!;
      const value = () => {
        throw new Error(`${String(key)} was called`);
      };
      defineProperty(object, key, { value, configurable: true, writable: true });
    }
    let outcome: unknown;
    try {
      outcome = await use();
    } catch (error) {
      outcome = (error as Error).stack;
    }
    for (let at = 0; at < ITERATING.length; at++) defineProperty(ITERATING[at][0], ITERATING[at][1], originals[at]);
    assertEquals(outcome, expected, name);
  }
});

test("Function.prototype.call, which hands the engine's ops what they work on, cannot be replaced", () => {
  const original = Function.prototype.call;
  const replacement = () => "replaced";
  assertThrows(() => (Function.prototype.call = replacement), { name: "TypeError", message: "Function.prototype.call cannot be replaced" });
  assertThrows(() => Object.defineProperty(Function.prototype, "call", { value: replacement }), { name: "TypeError", message: /.+/ });
  assertThrows(() => delete (Function.prototype as any).call, { name: "TypeError", message: /.+/ });
  assertEquals(Reflect.set(Function.prototype, "call", replacement, () => {}), true);
  assert(Function.prototype.call === original, "the original is still there");
  // A function may have one of its own, as test doubles do, and inherit one.
  const own: any = () => "own";
  own.call = replacement;
  assertEquals([own.call(null), Object.keys(own), (() => "plain").call(null)], ["replaced", ["call"], "plain"]);
  class Base { static call() { return "of the class"; } }
  assertEquals((Base as any).call(), "of the class");
  assertEquals(Math.max.call(null, 1, 2), 2);
  assertEquals(Array.prototype.slice.call({ length: 1, 0: "a" }), ["a"]);
});

test("names that user code puts on Object.prototype are no options and no results", async (env) => {
  const names = [
    "status", "statusText", "headers", "method", "body", "type", "cacheTtl", "signal", "metadata", "expiration", "expirationTtl",
    "prefix", "limit", "cursor", "delimiter", "include", "range", "offset", "suffix", "header", "onlyIf", "httpMetadata",
    "customMetadata", "storageClass", "md5", "sha256", "ssecKey", "contentType", "delaySeconds", "topK", "namespace", "filter",
    "returnValues", "returnMetadata", "columnNames", "gateway", "websocket", "returnRawResponse", "id", "name", "results",
    "success", "meta", "endings", "once", "capture", "passive", "keepalive", "integrity", "duplex", "redirect", "cause",
  ];
  const polluted: string[] = [];
  for (const name of names) {
    Object.defineProperty(Object.prototype, name, {
      get: () => "polluted",
      set() {
        // deno_core's list of timers has an `id` that it makes by assignment. No stack shows who it was.
        if (name !== "id") polluted.push(name);
      },
      configurable: true,
    });
  }
  try {
    await env.CACHE.put("plain", "text");
    assertEquals(await env.CACHE.get("plain"), "text");
    assertEquals((await env.CACHE.getWithMetadata("plain")).metadata, null);
    assertEquals((await env.CACHE.list()).list_complete, true);
    await env.DB.exec("CREATE TABLE IF NOT EXISTS p (id INTEGER, name TEXT, status TEXT)");
    await env.DB.prepare("INSERT INTO p VALUES (7, 'n', 's')").run();
    const row = await env.DB.prepare("SELECT id, name, status FROM p").first();
    assertEquals([row.id, row.name, row.status], [7, "n", "s"]);
    assertEquals(Object.keys((await env.DB.prepare("SELECT id, name FROM p").all()).results[0]), ["id", "name"]);
    await env.STORAGE.put("plain", "value");
    assertEquals(await (await env.STORAGE.get("plain")).text(), "value");
    assertEquals((await env.STORAGE.head("plain")).key, "plain");
    await env.QUEUE.send({ body: 1 });
    await env.VECTORIZE.upsert([{ id: "p", values: [1, 0], metadata: null, namespace: undefined }]);
    assertEquals((await env.VECTORIZE.query([1, 0])).matches[0].id, "p");
    assertEquals(await new Response("x").text(), "x");
    assertEquals(new Response("x").status, 200);
    assertEquals(Response.json({ a: 1 }).status, 200);
    assertEquals(new Request("http://x/").method, "GET");
    await scheduler.wait(1);
  } finally {
    for (const name of names) delete (Object.prototype as any)[name];
  }
  assertEquals(polluted, [], "setters that were called");
});

test("descriptors of the platform are not completed by Object.prototype", async (env, context) => {
  const names = ["get", "set", "value", "writable", "enumerable", "configurable"];
  try {
    for (const name of names) {
      Object.defineProperty(Object.prototype, name, { __proto__: null, value: undefined, configurable: true, writable: true } as any);
    }
    (Object.prototype as any).enumerable = true;
    assertEquals(await env.DB.prepare("SELECT 1 AS __proto__").first("__proto__"), 1);
    context.waitUntil(Promise.resolve());
    await env.CACHE.put("d", "x");
    assertEquals(await env.CACHE.get("d"), "x");
    assertEquals(await new Response("x").text(), "x");
  } finally {
    for (const name of names) delete (Object.prototype as any)[name];
  }
});

test("a thenable Object.prototype is asked only what the language asks", async (env) => {
  let asked = 0;
  Object.defineProperty(Object.prototype, "then", {
    get() {
      asked += 1;
      return undefined;
    },
    configurable: true,
  });
  try {
    await env.CACHE.put("t", "x");
    assertEquals(await env.CACHE.get("t"), "x");
    assertEquals(await env.DB.prepare("SELECT 1 AS one").first("one"), 1);
  } finally {
    delete (Object.prototype as any).then;
  }
  // Once for each promise that is resolved with an object, as the language has it; nothing else was told apart by it.
  assert(asked < 50, `then was asked for ${asked} times`);
});
