// Which names a worker sees, and that nothing of the engine under it is among them.

import { assert, assertEquals, assertThrows, test } from "../testing.ts";

test("navigator says that this is a Worker", () => {
  assertEquals(navigator.userAgent, "Cloudflare-Workers");
  assertEquals(typeof navigator.hardwareConcurrency, "number");
  assertEquals(Object.prototype.toString.call(navigator), "[object Navigator]");
});

test("self is the global object", () => {
  assert((globalThis as any).self === globalThis, "self");
  assertEquals(Object.prototype.toString.call(globalThis), "[object WorkerGlobalScope]");
  assert(globalThis instanceof EventTarget, "an event target");
});

test("nothing of the engine has a name", () => {
  const names = ["Deno", "__bootstrap", "bootstrap", "core", "internals", "primordials", "ops", "process", "Buffer", "require", "module", "window", "document", "gc", "d8"];
  for (const name of names) assertEquals(typeof (globalThis as any)[name], "undefined", name);
});

test("the global scope has these names and no others", () => {
  const language = "AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt BigInt64Array BigUint64Array Boolean DataView Date " +
    "DisposableStack Error EvalError FinalizationRegistry Float16Array Float32Array Float64Array Function Infinity Int16Array Int32Array " +
    "Int8Array Intl Iterator JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set " +
    "SharedArrayBuffer String SuppressedError Symbol SyntaxError Temporal TypeError URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray " +
    "WeakMap WeakRef WeakSet WebAssembly decodeURI decodeURIComponent encodeURI encodeURIComponent escape eval globalThis isFinite isNaN " +
    "parseFloat parseInt undefined unescape";
  const platform = "AbortController AbortSignal Blob ByteLengthQueuingStrategy CloseEvent CompressionStream CountQueuingStrategy Crypto " +
    "CryptoKey CustomEvent DOMException DecompressionStream ErrorEvent Event EventSource EventTarget File FileReader FixedLengthStream " +
    "FormData Headers IdentityTransformStream MessageChannel MessageEvent MessagePort Navigator Performance PerformanceEntry " +
    "PerformanceMark PerformanceMeasure ProgressEvent PromiseRejectionEvent QuotaExceededError ReadableByteStreamController " +
    "ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest ReadableStreamDefaultController ReadableStreamDefaultReader " +
    "Request Response Scheduler SubtleCrypto TextDecoder TextDecoderStream TextEncoder TextEncoderStream TransformStream " +
    "TransformStreamDefaultController URL URLPattern URLSearchParams WorkerGlobalScope WritableStream WritableStreamDefaultController " +
    "WritableStreamDefaultWriter atob btoa clearInterval clearTimeout console crypto fetch navigator performance queueMicrotask " +
    "reportError scheduler self setInterval setTimeout structuredClone";
  const known = new Set(`${language} ${platform}`.split(" "));
  assertEquals(Object.getOwnPropertyNames(globalThis).filter((name) => !known.has(name)), []);
  const inherited = [];
  for (let at = Object.getPrototypeOf(globalThis); at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    inherited.push(...Object.getOwnPropertyNames(at).filter((name) => name !== "constructor"));
  }
  assertEquals(inherited.sort(), ["addEventListener", "dispatchEvent", "removeEventListener"]);
});

test("nothing of the engine can be reached by walking", () => {
  const seen = new Set<unknown>();
  const found: string[] = [];
  const walk = (value: any, path: string, depth: number) => {
    if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) return;
    seen.add(value);
    if (depth > 12) return;
    for (const key of Reflect.ownKeys(value)) {
      const name = String(key);
      const here = `${path}.${name}`;
      // The engine's hooks for its inspector are symbols of this kind; they hold nothing but formatting.
      const isHook = typeof key === "symbol" && /^Symbol\(Deno\.(privateCustomInspect|core\.hostObject)\)$/.test(name);
      if (!isHook && /deno|bootstrap|primordials|\bop_\w|internals/i.test(name)) found.push(here);
      const descriptor = Object.getOwnPropertyDescriptor(value, key)!;
      for (const part of ["value", "get", "set"] as const) {
        const member = descriptor[part];
        if (typeof member === "function" && /^op_/.test(String(member.name))) found.push(`${here} is an op`);
        walk(member, here, depth + 1);
      }
    }
    walk(Object.getPrototypeOf(value), `${path}.__proto__`, depth + 1);
  };
  walk(globalThis, "globalThis", 0);
  walk(new Response("x"), "response", 0);
  walk(new Request("http://x"), "request", 0);
  walk(crypto, "crypto", 0);
  walk(console, "console", 0);
  assert(seen.size > 1000, `saw ${seen.size} objects`);
  assertEquals(found, []);
});

test("objects handed to a handler show nothing of the engine", (env, context) => {
  for (const object of [env, context, env.DB, env.CACHE, env.DB.prepare(""), new Response(""), new Headers(), new URL("http://x")]) {
    const names = [];
    for (let at = object; at !== null; at = Object.getPrototypeOf(at)) names.push(...Object.getOwnPropertyNames(at));
    assertEquals(names.filter((name) => /deno|op_|bootstrap|invocation/i.test(name)), []);
  }
});

test("stacks lead to the worker's own lines", async () => {
  const errors: Error[] = [new Error("here")];
  for (const run of [() => new URL("nope"), () => new Response("", { status: 1 }), () => structuredClone(() => 1), () => atob("a")]) {
    try {
      run();
    } catch (error) {
      errors.push(error as Error);
    }
  }
  await fetch("nope:").catch((error) => errors.push(error));
  for (const error of errors) {
    assert(!/__bootstrap|Deno\./.test(String(error.stack)), String(error.stack));
    assert(/global_scope\.test\.ts:\d+:\d+/.test(String(error.stack)), String(error.stack));
  }
  assertEquals(errors.length, 6);
});

test("prepareStackTrace is the worker's own", () => {
  const original = Error.prepareStackTrace;
  try {
    Error.prepareStackTrace = (_, frames) => frames.map((frame) => frame.getFunctionName());
    assert(Array.isArray(new Error("x").stack), "called");
  } finally {
    Error.prepareStackTrace = original;
  }
});

test("frames of the engine hand out no functions", () => {
  const original = Error.prepareStackTrace;
  const values: unknown[] = [];
  try {
    Error.prepareStackTrace = (_, frames) => {
      for (const frame of frames) values.push(frame.getFunction?.(), frame.getThis?.());
      return "";
    };
    const target = new EventTarget();
    target.addEventListener("x", () => void new Error("x").stack);
    target.dispatchEvent(new Event("x"));
  } finally {
    Error.prepareStackTrace = original;
  }
  assertEquals(values.filter((value) => value !== undefined && value !== globalThis), []);
});

test("a worker may replace globals without harm to the platform", async () => {
  const saved = { Promise: globalThis.Promise, Map: globalThis.Map, Uint8Array: globalThis.Uint8Array, push: Array.prototype.push };
  let pending;
  try {
    Array.prototype.push = () => { throw new Error("polluted"); };
    (globalThis as any).Map = (globalThis as any).Uint8Array = (globalThis as any).Promise = undefined;
    pending = new Response(new Blob(["text"]).stream()).text();
  } finally {
    Array.prototype.push = saved.push;
    Object.assign(globalThis, { Promise: saved.Promise, Map: saved.Map, Uint8Array: saved.Uint8Array });
  }
  assertEquals(await pending, "text");
});

test("interfaces that only the platform makes cannot be constructed", () => {
  for (const name of ["SubtleCrypto", "Crypto", "CryptoKey", "Performance", "MessagePort", "AbortSignal", "ReadableStreamDefaultController"]) {
    assertThrows(() => new (globalThis as any)[name](), { name: "TypeError", message: /.+/ });
  }
});

test("the names of the web platform are all there", () => {
  const names = [
    "AbortController", "AbortSignal", "Blob", "ByteLengthQueuingStrategy", "CloseEvent", "CompressionStream",
    "CountQueuingStrategy", "Crypto", "CryptoKey", "CustomEvent", "DOMException", "DecompressionStream", "ErrorEvent", "Event",
    "EventSource", "EventTarget", "File", "FormData", "Headers", "Intl", "MessageChannel", "MessageEvent", "MessagePort",
    "PromiseRejectionEvent", "ReadableByteStreamController", "ReadableStream", "ReadableStreamBYOBReader",
    "ReadableStreamBYOBRequest", "ReadableStreamDefaultController", "ReadableStreamDefaultReader", "Request", "Response",
    "SubtleCrypto", "Temporal", "TextDecoder", "TextDecoderStream", "TextEncoder", "TextEncoderStream", "TransformStream", "URL",
    "URLPattern", "URLSearchParams", "WebAssembly", "WritableStream", "addEventListener", "atob", "btoa", "clearInterval",
    "clearTimeout", "console", "crypto", "dispatchEvent", "fetch", "navigator", "performance", "queueMicrotask",
    "removeEventListener", "reportError", "scheduler", "self", "setInterval", "setTimeout", "structuredClone",
  ];
  assertEquals(names.filter((name) => !(name in globalThis)), []);
});

test("unbound methods of ctx are refused", (_, context) => {
  const { waitUntil, passThroughOnException } = context;
  const message =
    "Illegal invocation: function called with incorrect `this` reference. See https://developers.cloudflare.com/workers/observability/errors/#illegal-invocation-errors for details.";
  assertThrows(() => waitUntil(Promise.resolve()), { name: "TypeError", message });
  assertThrows(() => passThroughOnException(), { name: "TypeError", message });
});

test("ctx has the members of Workers", (_, context) => {
  assertEquals([typeof context.waitUntil, typeof context.passThroughOnException, typeof (context as any).props], ["function", "function", "object"]);
  context.waitUntil(Promise.resolve());
  context.passThroughOnException();
});

test("env can be enumerated and changed for this isolate", (env) => {
  assertEquals(Object.keys(env).sort(), ["AI", "CACHE", "DB", "OLD_QUEUE", "QUEUE", "STORAGE", "VECTORIZE"]);
});
