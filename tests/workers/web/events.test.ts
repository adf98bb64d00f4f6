// Events, aborting, timers, messages and clones.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const tick = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));

test("an event target calls listeners in order and once", () => {
  const calls: string[] = [];
  const target = new EventTarget();
  const twice = () => calls.push("b");
  target.addEventListener("x", () => calls.push("a"), { once: true });
  target.addEventListener("x", twice);
  target.addEventListener("x", twice);
  target.addEventListener("x", { handleEvent: (event: Event) => calls.push(event.type) });
  target.dispatchEvent(new Event("x"));
  target.removeEventListener("x", twice);
  target.dispatchEvent(new Event("x"));
  assertEquals(calls, ["a", "b", "x", "x"]);
});

test("events can be cancelled, stopped and carry details", () => {
  const target = new EventTarget();
  const seen: unknown[] = [];
  target.addEventListener("x", (event) => {
    seen.push((event as CustomEvent).detail);
    event.preventDefault();
    event.stopImmediatePropagation();
  });
  target.addEventListener("x", () => seen.push("not reached"));
  const event = new CustomEvent("x", { detail: { a: 1 }, cancelable: true });
  assertEquals([target.dispatchEvent(event), event.defaultPrevented, seen], [false, true, [{ a: 1 }]]);
});

test("a class may extend EventTarget", () => {
  class Mine extends EventTarget {}
  let called = 0;
  const mine = new Mine();
  mine.addEventListener("x", function (this: unknown) { if (this === mine) called++; });
  mine.dispatchEvent(new Event("x"));
  assertEquals(called, 1);
});

test("an abort controller aborts once, with its reason", () => {
  const controller = new AbortController();
  let calls = 0;
  controller.signal.onabort = () => calls++;
  controller.signal.addEventListener("abort", () => calls++);
  controller.abort("why");
  controller.abort("again");
  assertEquals([controller.signal.aborted, controller.signal.reason, calls], [true, "why", 2]);
  assertThrows(() => AbortSignal.abort().throwIfAborted(), { name: "AbortError", message: /.+/ });
});

test("AbortSignal.any and AbortSignal.timeout", async () => {
  const controller = new AbortController();
  const any = AbortSignal.any([controller.signal, AbortSignal.timeout(60_000)]);
  controller.abort("first");
  assertEquals([any.aborted, any.reason], [true, "first"]);
  const timeout = AbortSignal.timeout(1);
  await new Promise((resolve) => timeout.addEventListener("abort", resolve));
  assertEquals(timeout.reason.name, "TimeoutError");
});

test("timers fire by their time and then by their order", async () => {
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    setTimeout(() => { order.push("late"); resolve(); }, 20);
    setTimeout((a: string, b: string) => order.push(a + b), 1, "a", "b");
    setTimeout(() => order.push("zero 1"), 0);
    setTimeout(() => order.push("zero 2"), 0);
    queueMicrotask(() => order.push("microtask"));
    order.push("now");
  });
  assertEquals([order.slice(0, 2), order.at(-1)], [["now", "microtask"], "late"]);
  assert(order.indexOf("zero 1") < order.indexOf("zero 2"), order.join());
  assert(order.includes("ab"), order.join());
});

test("timers are numbers, are cleared and repeat", async () => {
  const cleared = setTimeout(() => { throw new Error("was cleared"); }, 0);
  assertEquals(typeof cleared, "number");
  clearTimeout(cleared);
  clearTimeout(undefined);
  clearInterval(99999);
  let runs = 0;
  await new Promise<void>((resolve) => {
    const interval = setInterval(() => { if (++runs === 3) { clearInterval(interval); resolve(); } }, 1);
  });
  await tick(5);
  assertEquals(runs, 3);
});

test("scheduler.wait waits and can be aborted", async () => {
  const before = performance.now();
  await scheduler.wait(10);
  assert(performance.now() - before >= 9, "ten milliseconds passed");
  const controller = new AbortController();
  const waiting = scheduler.wait(60_000, { signal: controller.signal });
  controller.abort(new RangeError("stop"));
  await assertRejects(() => waiting, { name: "RangeError", message: "stop" });
});

test("a message channel passes clones both ways", async () => {
  const { port1, port2 } = new MessageChannel();
  const received = new Promise((resolve) => { port2.onmessage = (event) => resolve(event.data); });
  port1.postMessage({ a: [1, new Date(0)], m: new Map([[1, 2]]) });
  assertEquals(await received, { a: [1, new Date(0)], m: new Map([[1, 2]]) });
  const back = new Promise((resolve) => port1.addEventListener("message", (event) => resolve(event.data)));
  port1.start();
  port2.postMessage("back");
  assertEquals(await back, "back");
  port1.close();
  port2.close();
});

test("structuredClone copies deeply, keeps cycles and transfers", () => {
  const original: any = { d: new Date(5), r: /x/gi, s: new Set([1]), u: new Uint8Array([1, 2]), e: new RangeError("m"), b: 10n };
  original.self = original;
  const clone = structuredClone(original);
  assert(clone !== original && clone.self === clone, "a cycle of its own");
  assertEquals([clone.d.getTime(), String(clone.r), [...clone.s], [...clone.u], clone.b], [5, "/x/gi", [1], [1, 2], 10n]);
  assertEquals([clone.e instanceof RangeError, clone.e.message], [true, "m"]);
  const buffer = new ArrayBuffer(4);
  assertEquals(structuredClone(buffer, { transfer: [buffer] }).byteLength, 4);
  assertEquals(buffer.byteLength, 0);
  assertThrows(() => structuredClone(() => 1), { name: "DataCloneError", message: /.+/ });
});

test("performance tells the time and keeps marks", () => {
  assert(performance.now() >= 0 && performance.now() < 600_000, `now is ${performance.now()}`);
  assert(Math.abs(performance.timeOrigin + performance.now() - Date.now()) < 2000, "the origin is in the present");
  performance.mark("a");
  performance.mark("b", { detail: { x: 1 } });
  const measure = performance.measure("m", "a", "b");
  assert(measure.duration >= 0, "a duration");
  assertEquals(performance.getEntriesByName("b")[0].name, "b");
  performance.clearMarks();
  performance.clearMeasures();
  assertEquals(performance.getEntries().length, 0);
});

test("DOMException has its names and codes", () => {
  const error = new DOMException("m", "AbortError");
  assertEquals([error.name, error.code, error.message, error instanceof Error], ["AbortError", 20, "m", true]);
});

test("an unhandled rejection is an event that can be prevented", async () => {
  const seen = new Promise<PromiseRejectionEvent>((resolve) => {
    addEventListener("unhandledrejection", (event) => { event.preventDefault(); resolve(event); }, { once: true });
  });
  const promise = Promise.reject(new RangeError("nobody catches me"));
  const event = await seen;
  assertEquals([event.type, event.reason.message, event.promise === promise], ["unhandledrejection", "nobody catches me", true]);
});

test("a rejection that is handled in time is no event", async () => {
  let events = 0;
  const count = (event: Event) => { event.preventDefault(); events++; };
  addEventListener("unhandledrejection", count);
  const promise = Promise.reject(new Error("handled"));
  promise.catch(() => {});
  await tick(5);
  removeEventListener("unhandledrejection", count);
  assertEquals(events, 0);
});

test("reportError is an error event that can be prevented", () => {
  const seen: unknown[] = [];
  const listener = (event: ErrorEvent) => { event.preventDefault(); seen.push(event.error.message, event.message); };
  addEventListener("error", listener);
  reportError(new RangeError("reported"));
  removeEventListener("error", listener);
  assertEquals([seen[0], /reported/.test(String(seen[1]))], ["reported", true]);
});

test("an error in a listener and in a timer is an error event", async () => {
  const seen: string[] = [];
  const listener = (event: ErrorEvent) => { event.preventDefault(); seen.push(event.error.message); };
  addEventListener("error", listener);
  const target = new EventTarget();
  target.addEventListener("x", () => { throw new Error("in a listener"); });
  target.dispatchEvent(new Event("x"));
  setTimeout(() => { throw new Error("in a timer"); }, 0);
  await tick(5);
  queueMicrotask(() => { throw new Error("in a microtask"); });
  await tick(5);
  removeEventListener("error", listener);
  assertEquals(seen, ["in a listener", "in a timer", "in a microtask"]);
});

test("what cannot be a listener is refused, and nothing is none", () => {
  const target = new EventTarget();
  for (const value of ["hello", 5, true, Symbol("x"), 1n] as any[]) {
    assertThrows(() => target.addEventListener("x", value), {
      name: "TypeError",
      message: "Failed to execute 'addEventListener' on 'EventTarget': parameter 2 is not of type 'function or HandlerObject'.",
    });
    assertThrows(() => target.removeEventListener("x", value), {
      name: "TypeError",
      message: "Failed to execute 'removeEventListener' on 'EventTarget': parameter 2 is not of type 'Object'.",
    });
    assertThrows(() => addEventListener("x" as any, value), { name: "TypeError", message: /.+/ });
    assertThrows(() => new AbortController().signal.addEventListener("abort", value), { name: "TypeError", message: /.+/ });
  }
  target.addEventListener("x", null);
  target.addEventListener("x", undefined as any);
  target.removeEventListener("x", undefined as any);
  target.addEventListener("x", {} as any);
  target.dispatchEvent(new Event("x"));
  assertThrows(() => (target as any).addEventListener("x"), { name: "TypeError", message: /.+/ });
  assertEquals([target.addEventListener.length, target.addEventListener.name], [2, "addEventListener"]);
});

test("a rejection that is handled late is told of twice", async () => {
  const seen: unknown[] = [];
  const note = (event: PromiseRejectionEvent) => {
    seen.push([event.type, event.constructor.name, event.promise === late, (event.reason as Error).message, event.cancelable]);
    event.preventDefault();
  };
  addEventListener("unhandledrejection", note);
  addEventListener("rejectionhandled" as any, note);
  const late = Promise.reject(new Error("late"));
  while (seen.length < 1) await tick();
  late.catch(() => {});
  while (seen.length < 2) await tick();
  removeEventListener("unhandledrejection", note);
  removeEventListener("rejectionhandled" as any, note);
  assertEquals(seen, [
    ["unhandledrejection", "PromiseRejectionEvent", true, "late", true],
    ["rejectionhandled", "PromiseRejectionEvent", true, "late", false],
  ]);
});

test("both sides of a message channel are told of its end", async () => {
  const { port1, port2 } = new MessageChannel();
  const seen: string[] = [];
  const note = (name: string) => (event: Event) => seen.push(`${name} ${event.type} ${event.isTrusted}`);
  (port1 as any).onclose = note("one");
  port2.addEventListener("close", note("two"));
  port1.start();
  port2.start();
  port1.close();
  port1.close();
  while (seen.length < 2) await tick();
  assertEquals(seen.sort(), ["one close true", "two close true"]);
  assertEquals(typeof (port1 as any).onclose, "function");
});

// The text is workerd's. Unlike there, Blob, File and CryptoKey are cloned, as the standard says, and Headers and Request are not.
test("objects of the platform that cannot be cloned are refused, however deep they lie", () => {
  const values: Record<string, () => unknown> = {
    AbortController: () => new AbortController(),
    AbortSignal: () => AbortSignal.abort(),
    CompressionStream: () => new CompressionStream("gzip"),
    CountQueuingStrategy: () => new CountQueuingStrategy({ highWaterMark: 1 }),
    Crypto: () => crypto,
    CustomEvent: () => new CustomEvent("x"),
    Event: () => new Event("x"),
    EventTarget: () => new EventTarget(),
    FormData: () => new FormData(),
    Headers: () => new Headers(),
    MessageChannel: () => new MessageChannel(),
    Navigator: () => navigator,
    ReadableStreamDefaultReader: () => new ReadableStream().getReader(),
    Request: () => new Request("http://x/"),
    Response: () => new Response(),
    Scheduler: () => scheduler,
    SubtleCrypto: () => crypto.subtle,
    TextDecoder: () => new TextDecoder(),
    TextEncoder: () => new TextEncoder(),
    URL: () => new URL("http://x/"),
    URLPattern: () => new URLPattern(),
    URLSearchParams: () => new URLSearchParams(),
  };
  for (const [name, make] of Object.entries(values)) {
    const refused = {
      name: "DataCloneError",
      message: `Could not serialize object of type "${name}". This type does not support serialization.`,
    };
    assertThrows(() => structuredClone({ deep: [make()] }), refused);
    assertThrows(() => structuredClone(new Map([[1, make()]])), refused);
    assertThrows(() => structuredClone(make()), { name: "DataCloneError", message: /.+/ });
    assertThrows(() => new MessageChannel().port1.postMessage({ deep: make() }), refused);
  }
  const target = new EventTarget();
  assertThrows(() => structuredClone(1, { transfer: [target as any] }), { name: "DataCloneError", message: "Value not transferable" });
  class Mine extends EventTarget {}
  assertThrows(() => structuredClone(new Mine()), { name: "DataCloneError", message: /"EventTarget"/ });
  assertEquals(structuredClone(new (class { a = 1 })()), { a: 1 });
  assert(structuredClone(new DOMException("m", "AbortError")).name === "AbortError", "exceptions are cloned");
});

test("bindings, statements and objects of a bucket cannot be cloned", async (env) => {
  const object = await env.STORAGE.put("clone", "value");
  const values = [env.DB, env.DB.prepare("SELECT 1"), env.CACHE, env.QUEUE, env.STORAGE, env.AI, env.VECTORIZE, object];
  for (const value of values) {
    const refused = { name: "DataCloneError", message: /^Could not serialize object of type "[A-Z]\w+"\. This type/ };
    assertThrows(() => structuredClone({ deep: [value] }), refused);
  }
  await env.STORAGE.delete("clone");
});

// workerd: `Object.getOwnPropertyNames(structuredClone(error))` is ["stack", "message"], and a name of its own becomes "Error".
test("a clone of an error has its message, stack and cause, and no properties of its own", () => {
  const error = Object.assign(new TypeError("m", { cause: new Error("why") }), { code: "E1" });
  const clone: any = structuredClone(error);
  assertEquals([clone.constructor.name, clone.message, clone.cause.message, clone.code, clone.stack === error.stack], ["TypeError", "m", "why", undefined, true]);
});
