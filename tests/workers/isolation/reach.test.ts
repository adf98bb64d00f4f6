// What a worker cannot reach: files, processes, the environment, the engine, code from text.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

test("import() reaches the project's modules and nothing else", async () => {
  for (
    const specifier of [
      "file:///etc/passwd", "/etc/passwd", "../../../../../../etc/passwd", "./../../etc/passwd", "file:///proc/self/environ",
      "/proc/self/environ", "http://127.0.0.1:1/x.js", "https://example.com/x.js", "data:text/javascript,export default 1",
      "blob:null/00000000-0000-0000-0000-000000000000", "ext:core/mod.js", "ext:core/ops", "ext:aerostack/platform/bootstrap.ts",
      "ext:deno_fetch/26_fetch.js", "node:fs", "node:process", "node:child_process", "node:worker_threads", "node:vm", "fs",
      "npm:lodash", "jsr:@std/fs", "deno:fs", "bun:ffi", "", "\0", "./reach.test.ts\0/../../x",
    ]
  ) {
    await assertRejects(() => import(specifier), { name: "TypeError", message: /.+/ });
  }
  const url = URL.createObjectURL?.(new Blob(["export default 1"], { type: "text/javascript" }));
  if (url !== undefined) await assertRejects(() => import(url), { name: "TypeError", message: /.+/ });
});

test("no constructor makes code from text", () => {
  const text = "return globalThis";
  const refused = { name: "EvalError", message: "Code generation from strings disallowed for this context" };
  const plain = function () {};
  const generator = function* () {};
  const later = async () => {};
  const laterGenerator = async function* () {};
  for (const one of [plain, generator, later, laterGenerator]) {
    assertThrows(() => (one.constructor as any)(text), refused);
    assertThrows(() => Reflect.construct(one.constructor as any, [text]), refused);
    assertThrows(() => Object.getPrototypeOf(one).constructor.call(null, text), refused);
    assertThrows(() => new (class extends (one.constructor as any) {} as any)(text), refused);
  }
  assertThrows(() => eval("1"), refused);
  assertThrows(() => (0, eval)("1"), refused);
  assertThrows(() => globalThis.eval("1"), refused);
  assertThrows(() => Reflect.apply(eval, undefined, ["1"]), refused);
  // What is not text is no code.
  assertEquals((0, eval)({ a: 1 } as any).a, 1);
});

test("functions of the platform make no code from text either", () => {
  const refused = { name: "EvalError", message: "Code generation from strings disallowed for this context" };
  for (const one of [fetch, Response, Headers.prototype.get, console.log, setTimeout, structuredClone, crypto.subtle.digest]) {
    assertThrows(() => (one as any).constructor("return 1"), refused);
    assertThrows(() => (one as any).constructor.constructor("return 1"), refused);
  }
});

test("frames hand out no function and no receiver, whoever called", async (env) => {
  const original = Error.prepareStackTrace;
  const handed: unknown[] = [];
  let calls = 0;
  const look = () => void new Error("look").stack;
  Error.prepareStackTrace = (_, frames) => {
    calls += 1;
    for (const frame of frames) handed.push(frame.getFunction?.(), frame.getThis?.());
    return "";
  };
  try {
    look();
    await new Promise<void>((resolve) => setTimeout(() => (look(), resolve()), 0));
    await new Response(new ReadableStream({ pull: (controller) => (look(), controller.close()) })).text();
    await env.QUEUE.send({ toJSON: () => (look(), 1) });
    await env.CACHE.get({ toString: () => (look(), "key") });
    await env.CACHE.list({ get prefix() { look(); return ""; } });
    try {
      env.DB.prepare("SELECT ?").bind({ toString: () => (look(), "x") });
    } catch {
      // Objects are no parameters.
    }
    await env.STORAGE.put("key", "value", { get customMetadata() { look(); return {}; } });
    await env.VECTORIZE.query([1], { get topK() { look(); return 1; } }).catch(() => {});
    await env.AI.run("scripted", { toJSON: () => (look(), {}) }).catch(() => {});
    new Response("x", { get status() { look(); return 200; } } as any);
    const target = new EventTarget();
    target.addEventListener("x", look);
    target.dispatchEvent(new Event("x"));
    structuredClone({ get a() { look(); return 1; } });
    JSON.stringify({ toJSON: look });
    console.log({ get [Symbol.toStringTag]() { look(); return "x"; } });
    queueMicrotask(look);
    await null;
  } finally {
    Error.prepareStackTrace = original;
  }
  assert(calls > 8, `looked ${calls} times`);
  assertEquals(handed.filter((value) => value !== undefined && value !== globalThis), []);
});

test("functions of the platform tell nothing of their callers", () => {
  for (const one of [fetch, Response, Headers.prototype.get, console.log, setTimeout, structuredClone, URL, atob]) {
    for (const name of ["caller", "arguments", "callee"]) {
      let value: unknown = null;
      try {
        value = (one as any)[name];
      } catch (error) {
        assert(error instanceof TypeError, String(error));
      }
      assert(value === null || value === undefined, `${one.name}.${name}`);
    }
  }
});

test("nothing of the machine has a name", () => {
  const names = [
    "Deno", "process", "Bun", "require", "module", "__dirname", "__filename", "Buffer", "global", "Worker", "SharedWorker",
    "ServiceWorker", "XMLHttpRequest", "WebSocketStream", "WebTransport", "WebSocket", "importScripts", "localStorage",
    "sessionStorage", "indexedDB", "BroadcastChannel", "caches", "open", "alert", "prompt", "gc", "print", "load", "read",
    "readFile", "quit", "version", "Cloudflare", "$vm", "d8",
  ];
  // What Workers have and is still to come may come; what reaches the machine may not.
  const expected = ["WebSocket", "caches", "Buffer", "process", "Cloudflare"];
  const there = names.filter((name) => typeof (globalThis as any)[name] !== "undefined" && !expected.includes(name));
  assertEquals(there, []);
});

test("memory that is shared is shared with nobody", () => {
  const memory = new SharedArrayBuffer(8);
  assertThrows(() => Atomics.wait(new Int32Array(memory), 0, 0, 0), { name: "TypeError", message: /.+/ });
  const { port1, port2 } = new MessageChannel();
  port1.close();
  port2.close();
});

test("files cannot be fetched", async () => {
  for (const url of ["file:///etc/passwd", "file://localhost/etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "filesystem:http://x/", "ext:core/mod.js", "about:blank", "javascript:1", "ftp://127.0.0.1/x"]) {
    await assertRejects(() => fetch(url), { name: "TypeError", message: /.+/ });
    await assertRejects(() => fetch(new Request(url)), { name: "TypeError", message: /.+/ });
  }
});

test("what is thrown at a worker is made of the worker's own classes", async (env) => {
  const attempts: (() => unknown)[] = [
    () => env.DB.prepare("nope").all(),
    () => env.CACHE.get(""),
    () => env.CACHE.put("x".repeat(600), ""),
    () => env.QUEUE.send(undefined),
    () => env.STORAGE.get("x".repeat(2000)),
    () => env.VECTORIZE.query("nope"),
    () => fetch("nope:"),
    () => new Response("x", { status: 1 }),
    () => new URL("nope"),
    () => structuredClone(() => {}),
    () => crypto.subtle.digest("nope", new Uint8Array()),
    () => atob("a"),
  ];
  const refused = { name: "EvalError", message: "Code generation from strings disallowed for this context" };
  for (const attempt of attempts) {
    let error: any;
    try {
      await attempt();
    } catch (thrown) {
      error = thrown;
    }
    assert(error instanceof Error || error instanceof DOMException, String(attempt));
    assertThrows(() => error.constructor.constructor("return 1"), refused);
    // Symbols of the engine mark what can be cloned, and are nothing but marks.
    for (const name of Object.getOwnPropertyNames(error)) {
      const value = (error as any)[name];
      assert(typeof value !== "function", `${String(attempt)} has a function at ${String(name)}`);
    }
  }
});
