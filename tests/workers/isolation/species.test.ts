// `Symbol.species`, of which built-ins ask what to make: user code can replace it, and the platform must not ask. How it iterates is in
// pollution.test.ts.

import { assert, assertEquals, test } from "../testing.ts";

const TypedArray = Object.getPrototypeOf(Uint8Array);
/** Runs `body` while every hook throws and counts, and fails where one was asked. */
async function whileHooksThrow(hooks: [owner: any, key: PropertyKey][], body: () => Promise<unknown>) {
  const asked: string[] = [];
  const restore: (() => void)[] = [];
  for (const [owner, key] of hooks) {
    const original = Object.getOwnPropertyDescriptor(owner, key)!;
    restore.push(() => Object.defineProperty(owner, key, original));
    const hook = function (this: any) {
      asked.push(`${String(key)} of ${owner.name ?? owner[Symbol.toStringTag]}`);
      throw new RangeError("a hook was asked");
    };
    Object.defineProperty(owner, key, "value" in original ? { value: hook, configurable: true, writable: true } : { get: hook, configurable: true });
  }
  let failure: unknown;
  let value: unknown;
  try {
    value = await body();
  } catch (error) {
    failure = error;
  }
  for (let i = 0; i < restore.length; i++) restore[i]();
  if (failure !== undefined) throw new Error(`failed with ${(failure as Error).stack}`);
  assertEquals(asked, []);
  return value;
}

const SPECIES: [any, PropertyKey][] = [
  [Array, Symbol.species], [TypedArray, Symbol.species], [ArrayBuffer, Symbol.species],
];


const bytes = new TextEncoder().encode("bytes");

async function useDatabase(env: any) {
  await env.DB.exec("CREATE TABLE t (a, b)");
  const insert = env.DB.prepare("INSERT INTO t VALUES (?, ?)");
  const results = await env.DB.batch([insert.bind(1, bytes), insert.bind(2, "x")]);
  const raw = await env.DB.prepare("SELECT a, b FROM t ORDER BY a").raw({ columnNames: true });
  const all = await env.DB.prepare("SELECT a FROM t ORDER BY a").all();
  return [results.length, raw.length, raw[0][0], raw[1][0], raw[2][1], all.results[1].a];
}

async function useCache(env: any) {
  await env.CACHE.put("text", "value", { metadata: { a: 1 } });
  await env.CACHE.put("bytes", bytes);
  const list = await env.CACHE.list();
  return [await env.CACHE.get("text"), (await env.CACHE.get("bytes", "arrayBuffer")).byteLength, list.keys.length];
}

async function useStorage(env: any) {
  await env.STORAGE.put("key", bytes, { customMetadata: { a: "b" } });
  const object = await env.STORAGE.get("key");
  const text = await object.text();
  const listed = await env.STORAGE.list();
  return [text, object.customMetadata.a, listed.objects.length];
}

async function useQueue(env: any) {
  await env.QUEUE.send(bytes, { contentType: "bytes" });
  await env.QUEUE.send({ a: 1 });
  return (await env.QUEUE.metrics()).backlogCount;
}

async function usePlatform(context: ExecutionContext) {
  context.waitUntil(Promise.resolve(1));
  const response = new Response("text", { headers: { a: "b" } });
  const url = new URL("http://x/?a=1");
  const form = new FormData();
  form.append("a", "b");
  const signal = new AbortController().signal;
  signal.addEventListener("abort", () => {});
  return [
    await response.text(),
    response.headers.get("a"),
    url.searchParams.get("a"),
    form.get("a"),
    structuredClone({ a: 1 }).a,
    new TextDecoder().decode(new TextEncoder().encode("x")),
    atob(btoa("x")),
    (await crypto.subtle.digest("SHA-256", bytes)).byteLength,
  ];
}

test("the database does not ask for species", async (env) => {
  assertEquals(await whileHooksThrow(SPECIES, () => useDatabase(env)), [2, 3, "a", 1, "x", 2]);
});

test("the cache does not ask for species", async (env) => {
  assertEquals(await whileHooksThrow(SPECIES, () => useCache(env)), ["value", 5, 2]);
});

test("the storage does not ask for species", async (env) => {
  assertEquals(await whileHooksThrow(SPECIES, () => useStorage(env)), ["bytes", "b", 1]);
});

test("the queue does not ask for species", async (env) => {
  assertEquals(await whileHooksThrow(SPECIES, () => useQueue(env)), 2);
});

test("the platform does not ask for species", async (_, context) => {
  assertEquals(await whileHooksThrow(SPECIES, () => usePlatform(context)), ["text", "b", "1", "b", 1, "x", "x", 32]);
});

// deno_core calls `catch` on the promise of each operation that is not done at once, and deno_web's streams call `then`: what these make
// of the species of Promise is thrown away, but it has to be a promise.
test("everything works where the species of Promise is a subclass", async (env, context) => {
  class Mine<T> extends Promise<T> {}
  Object.defineProperty(Promise, Symbol.species, { get: () => Mine, configurable: true });
  assertEquals(await useDatabase(env), [2, 3, "a", 1, "x", 2]);
  assertEquals(await useCache(env), ["value", 5, 2]);
  assertEquals(await useStorage(env), ["bytes", "b", 1]);
  assertEquals(await useQueue(env), 2);
  assertEquals(await usePlatform(context), ["text", "b", "1", "b", 1, "x", "x", 32]);
  const source = new ReadableStream({
    pull(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  });
  assertEquals(await new Response(source.pipeThrough(new TransformStream())).text(), "bytes");
  assert(env.DB.prepare("SELECT 1").all().constructor === Promise, "a plain promise");
});
