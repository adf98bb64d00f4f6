// Every way we know of to use up time or memory, one handler a path. What each must come to is said in `cases.rs`.

const forever = () => {
  for (;;);
};
// Half a millisecond, far below what a watchdog sees.
const spin = () => {
  for (const until = performance.now() + 0.5; performance.now() < until;);
};
const megabyte = 1 << 20;
// (module (memory (export "m") 1 2048)), and the same with a start function that grows it to 100 MiB and writes to each page.
const memoryModule = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 5, 5, 1, 1, 1, 128, 16, 7, 5, 1, 1, 109, 2, 0]);
// (module (func (export "f") (loop br 0)))
const loopModule = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11,
]);
const text = (value) => new Response(String(value));
const touch = (buffer) => {
  const bytes = new Uint8Array(buffer);
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
};
const kept = [];

const handlers = {
  // Time.
  "endless-loop": forever,
  "endless-loop-behind-catch": () => {
    for (;;) {
      try {
        forever();
      } catch {
      } finally {
        forever();
      }
    }
  },
  "finally-that-swallows": () => {
    const again = () => {
      try {
        forever();
      } finally {
        return again();
      }
    };
    return again();
  },
  "microtasks-then": () => {
    const next = () => Promise.resolve().then(next);
    return next();
  },
  "microtasks-queue": () => {
    const next = () => queueMicrotask(next);
    next();
    return new Promise(() => {});
  },
  "microtasks-thenable": async () => {
    const again = { then: (resolve) => resolve(again) };
    await again;
  },
  "async-generator": async () => {
    for await (const _ of (async function* () { for (;;) yield 1; })());
  },
  "generator": () => {
    for (const _ of (function* () { for (;;) yield 1; })());
  },
  "regex-backtracking": () => text(/^(a+)+$/.test("a".repeat(40) + "b")),
  "regex-lookbehind": () => text(/(?<=^(\w+)+)!$/.test("a".repeat(45) + "?")),
  "regex-replace": () => text("a".repeat(5_000_000).replace(/(a|aa)+$/g, (all) => all + all).length),
  "regex-split": () => text("ab".repeat(3_000_000).split(/(?:)/u).length),
  "sort-comparison": () => text([1, 2, 3].sort(forever)),
  "sort-numbers": () => {
    for (;;) Float64Array.from({ length: 1_000_000 }, () => Math.random()).sort();
  },
  "sort-array": () => {
    const numbers = Array.from({ length: 1_000_000 }, (_, at) => (at * 7919) % 1_000_003);
    for (;;) numbers.slice().sort((a, b) => a - b);
  },
  "short-turns": async () => {
    for (;;) {
      spin();
      await new Promise((done) => setTimeout(done, 0));
    }
  },
  "timers-zero": () => new Promise(() => setInterval(spin, 0)),
  "bigint-power": () => text((7n ** 3_000_000n).toString().length),
  "bigint-product": () => {
    let number = 3n;
    for (;;) number *= number;
  },
  "intl": () => {
    for (let i = 0;; i++) new Date(i).toLocaleString("de-DE", { dateStyle: "full", timeStyle: "full", timeZone: "Asia/Tokyo" });
  },
  "intl-collator": () => {
    for (;;) Array.from({ length: 100 }, (_, i) => "é" + i).sort(new Intl.Collator("fr").compare);
  },
  "number-formats": () => {
    for (;;) new Intl.NumberFormat("ar-EG", { style: "currency", currency: "EGP" }).format(1e300);
  },
  "url-parsing": () => {
    for (;;) new URL("http://" + "a.".repeat(1000) + "com/" + "../x/".repeat(1000));
  },
  "console-flood": () => {
    for (;;) console.log("flood");
  },
  "console-deep": () => {
    let nested = {};
    for (let i = 0; i < 100_000; i++) nested = { nested, again: [nested, nested] };
    console.log(nested);
    return text("logged");
  },
  "event-dispatch": () => {
    const target = new EventTarget();
    target.addEventListener("x", () => target.dispatchEvent(new Event("x")));
    target.dispatchEvent(new Event("x"));
    return text("done");
  },
  "event-listeners": () => {
    const target = new EventTarget();
    for (;;) target.addEventListener("x", () => {});
  },
  "abort-signals": () => {
    for (let signal = AbortSignal.any([]);;) kept.push(signal = AbortSignal.any([signal, new AbortController().signal]));
  },
  "wasm-loop": () => new WebAssembly.Instance(new WebAssembly.Module(loopModule)).exports.f(),
  "atomics-wait": () => text(Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)),
  "json-stringify-getter": () => text(JSON.stringify({ get x() { return forever(); } })),
  "json-stringify-bomb": () => {
    let bomb = ["lol"];
    for (let i = 0; i < 60; i++) bomb = [bomb, bomb];
    return text(JSON.stringify(bomb).length);
  },
  "proxy-loop": () => {
    const proxy = new Proxy({}, { get: (_, name, self) => self[name + "x"] });
    return text(proxy.x);
  },
  "getter-of-answer": () => ({ get then() { return forever(); } }),
  "response-subclass": () => {
    class Odd extends Response {
      get body() { return forever(); }
      get status() { return forever(); }
      get headers() { return forever(); }
    }
    return new Odd("fine");
  },
  "throw-from-iterator": () => new Response("x", { headers: { [Symbol.iterator]: forever } }),
  "pull-forever": () => new Response(new ReadableStream({ pull: forever })).text(),
  "crypto-digest": async () => {
    const bytes = new Uint8Array(16 * megabyte);
    for (;;) await crypto.subtle.digest("SHA-512", bytes);
  },
  "crypto-pbkdf2": async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "PBKDF2", false, ["deriveBits"]);
    const salt = new Uint8Array(16);
    await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-512", salt, iterations: 4_000_000_000 }, key, 512);
    return text("derived");
  },
  "crypto-pbkdf2-many": async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "PBKDF2", false, ["deriveBits"]);
    const salt = new Uint8Array(16);
    const derive = () => crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-512", salt, iterations: 100_000 }, key, 512);
    await Promise.all(Array.from({ length: 400 }, derive));
    return text("derived");
  },
  "crypto-pbkdf2-keys": async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "PBKDF2", false, ["deriveKey"]);
    const algorithm = { name: "PBKDF2", hash: "SHA-256", salt: new Uint8Array(16), iterations: 100_000 };
    const derive = () => crypto.subtle.deriveKey(algorithm, key, { name: "AES-GCM", length: 256 }, false, ["encrypt"]);
    await Promise.all(Array.from({ length: 400 }, derive));
    return text("derived");
  },
  "crypto-derivations-waiting": async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "PBKDF2", false, ["deriveBits"]);
    const salt = new Uint8Array(megabyte);
    const derive = () => crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-512", salt, iterations: 100_000 }, key, 512);
    await Promise.all(Array.from({ length: 1000 }, derive));
    return text("derived");
  },
  "crypto-rsa-many": async () => {
    const algorithm = { name: "RSA-PSS", modulusLength: 4096, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
    await Promise.all(Array.from({ length: 100 }, () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])));
    return text("generated");
  },
  "crypto-rsa-large": async () => {
    const algorithm = { name: "RSA-PSS", modulusLength: 16_384, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
    await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    return text("generated");
  },
  "crypto-argon2": async () => {
    const key = await crypto.subtle.importKey("raw-secret", new Uint8Array(16), "Argon2id", false, ["deriveBits"]);
    const algorithm = { name: "Argon2id", memory: 4_000_000, passes: 1000, parallelism: 1, nonce: new Uint8Array(16) };
    await crypto.subtle.deriveBits(algorithm, key, 256);
    return text("derived");
  },
  "crypto-sign-loop": async () => {
    const algorithm = { name: "RSA-PSS", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
    const { privateKey } = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    for (;;) await crypto.subtle.sign({ name: "RSA-PSS", saltLength: 32 }, privateKey, new Uint8Array(16));
  },
  "crypto-random": () => text(crypto.getRandomValues(new Uint8Array(70_000)).length),
  "structured-clone-loop": () => {
    const large = Array.from({ length: 10_000 }, (_, i) => ({ i }));
    for (;;) structuredClone(large);
  },
  "search-params": () => {
    for (let params = new URLSearchParams();;) params.append("name", "value".repeat(10));
  },
  "search-params-million": () => text([...new URLSearchParams("a=1&".repeat(300_000))].length),

  // Memory.
  "array-push": () => {
    for (const list = [];;) list.push({ at: list.length });
  },
  "array-push-numbers": () => {
    for (const list = [];;) list.push(list.length + 0.5);
  },
  "array-fill": () => text(new Array(5e8).fill(1).length),
  "array-fill-largest": () => text(new Array(2 ** 32 - 1).fill(1).length),
  "array-fill-objects": () => text(new Array(3e7).fill({}).length),
  "array-from-length": () => text(Array.from({ length: 5e8 }).length),
  "array-spread": () => {
    for (let list = [1, 2, 3, 4];;) list = [...list, ...list];
  },
  "array-concat": () => {
    for (let list = [1, 2, 3, 4];;) list = list.concat(list);
  },
  "array-flat": () => {
    let nested = [1, 2, 3, 4, 5, 6, 7, 8];
    for (let i = 0; i < 10; i++) nested = Array(8).fill(nested);
    return text(nested.flat(Infinity).length);
  },
  "array-sparse": () => {
    for (let i = 0, list = [];; i++) list[i * 1_000_003 % 4_294_967_291] = i;
  },
  "array-join": () => text(new Array(2 ** 29).join("x").length),
  "array-join-bomb": () => {
    let nested = ["x".repeat(1000)];
    for (let i = 0; i < 40; i++) nested = [nested, nested];
    return text(String(nested).length);
  },
  "arguments-spread": () => text(Math.max(...new Array(5_000_000).fill(1))),
  "function-apply": () => text(String.fromCharCode.apply(null, new Array(5_000_000).fill(65)).length),
  "string-doubling": () => {
    for (let s = "x";;) s += s;
  },
  "string-repeat": () => {
    for (;;) kept.push("xy".repeat(megabyte).split("x").join("z"));
  },
  "string-flatten": () => {
    for (let i = 0;; i++) kept.push(encodeURIComponent(("é" + i).repeat(100_000)));
  },
  "string-pad": () => text("x".padEnd(2 ** 29, "y").length),
  "string-pad-largest": () => {
    for (let i = 0;; i++) kept.push(String(i).padEnd(2 ** 29 - 30, "y").replaceAll("y", "z"));
  },
  "string-replace-bomb": () => {
    for (let s = "aa";;) s = s.replace(/a/g, "aa");
  },
  "string-normalize": () => {
    for (let s = "\u{1f1e6}\ufdfa".repeat(1000);;) s = (s + s).normalize("NFKD");
  },
  "map": () => {
    for (let i = 0, map = new Map();; i++) map.set("k" + i, { i });
  },
  "set-numbers": () => {
    for (let i = 0, set = new Set();; i++) set.add(i);
  },
  "weak-map": () => {
    const map = new WeakMap();
    for (;;) {
      const key = {};
      kept.push(key);
      map.set(key, new Array(10));
    }
  },
  "object-keys": () => {
    for (let i = 0, object = {};; i++) object["key" + i] = i;
  },
  "symbols": () => {
    for (let i = 0;; i++) Symbol.for("symbol" + i);
  },
  "closures": () => {
    let f = () => 0;
    for (;;) {
      const g = f;
      f = () => g;
    }
  },
  "promises": () => {
    for (;;) kept.push(new Promise(() => {}).then(() => {}));
  },
  "array-buffers": () => {
    for (;;) kept.push(new ArrayBuffer(megabyte));
  },
  "array-buffer-huge": () => new ArrayBuffer(1e15),
  "array-buffer-small": () => {
    for (;;) kept.push(new Uint8Array(100));
  },
  "array-buffer-resizable": () => {
    for (;;) {
      const buffer = new ArrayBuffer(0, { maxByteLength: 16 * megabyte });
      buffer.resize(16 * megabyte);
      touch(buffer);
      kept.push(buffer);
    }
  },
  "shared-array-buffers": () => {
    for (;;) {
      const buffer = new SharedArrayBuffer(4 * megabyte);
      touch(buffer);
      kept.push(buffer);
    }
  },
  "shared-growable": () => {
    for (;;) {
      const buffer = new SharedArrayBuffer(0, { maxByteLength: 16 * megabyte });
      buffer.grow(16 * megabyte);
      touch(buffer);
      kept.push(buffer);
    }
  },
  "buffer-transfer": () => {
    for (let buffer = new ArrayBuffer(megabyte);;) buffer = buffer.transfer(buffer.byteLength * 2);
  },
  "text-encoder": () => {
    for (;;) kept.push(new TextEncoder().encode("x".repeat(megabyte)));
  },
  "text-encoder-garbage": () => {
    let bytes = 0;
    for (let i = 0; i < 500; i++) bytes += new TextEncoder().encode("x".repeat(megabyte)).length;
    return text(bytes);
  },
  "text-decoder": () => {
    const bytes = new Uint8Array(4 * megabyte).fill(200);
    for (;;) kept.push(new TextDecoder("latin1").decode(bytes) + kept.length);
  },
  "blobs": () => {
    const part = new Uint8Array(megabyte);
    for (;;) kept.push(new Blob([part]));
  },
  "blob-nesting": async () => {
    for (let blob = new Blob(["x".repeat(megabyte)]);;) {
      blob = new Blob([blob, blob]);
      if (blob.size > 2 ** 28) return text((await blob.arrayBuffer()).byteLength);
    }
  },
  "object-urls": () => {
    for (const part = new Uint8Array(megabyte);;) URL.createObjectURL(new Blob([part]));
  },
  "body-concatenation": async () => {
    const chunk = new Uint8Array(megabyte);
    await new Response(new ReadableStream({ pull: (c) => c.enqueue(chunk.slice()) })).arrayBuffer();
  },
  "stream-queue": () => {
    new ReadableStream({ start: (c) => { for (;;) c.enqueue(new Uint8Array(megabyte)); } });
  },
  "stream-tee": async () => {
    const source = new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(megabyte)) });
    const [one, other] = source.tee();
    kept.push(other);
    for await (const _ of one);
  },
  "transform-bomb": async () => {
    const bomb = new TransformStream({ transform: (_, c) => { for (;;) c.enqueue(new Uint8Array(megabyte)); } });
    bomb.writable.getWriter().write("x");
    await bomb.readable.getReader().read();
  },
  "wasm-memory-grow": () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
    try {
      for (;;) memory.grow(16);
    } catch (error) {
      return text(error.name);
    }
  },
  "wasm-memories": () => {
    for (;;) {
      const memory = new WebAssembly.Memory({ initial: 160, maximum: 160 });
      touch(memory.buffer);
      kept.push(memory);
    }
  },
  "wasm-instances": () => {
    const module = new WebAssembly.Module(memoryModule);
    for (;;) {
      const { m } = new WebAssembly.Instance(module).exports;
      m.grow(160);
      touch(m.buffer);
      kept.push(m);
    }
  },
  "wasm-tables": () => {
    for (;;) kept.push(new WebAssembly.Table({ element: "externref", initial: 1_000_000 }));
  },
  "wasm-modules": () => {
    for (;;) kept.push(new WebAssembly.Module(loopModule));
  },
  "timers-million": () => {
    for (let i = 0; i < 1_000_000; i++) setTimeout(() => {}, 600_000 + i);
    return text("set");
  },
  "timers-endless": () => {
    for (;;) setTimeout(() => {}, 600_000);
  },
  "form-data": () => {
    for (let form = new FormData(), i = 0;; i++) form.append("field" + i, "value");
  },
  "headers": () => {
    for (let headers = new Headers(), i = 0;; i++) headers.append("x-" + i, "value");
  },
  "structured-clone-bomb": () => {
    let bomb = { text: "x" };
    for (let i = 0; i < 60; i++) bomb = { a: bomb, b: structuredClone(bomb) };
  },
  "json-parse-large": () => text(JSON.parse("[" + "{\"a\":[1,2,3]},".repeat(5_000_000) + "0]").length),
  "json-stringify-large": () => {
    const large = Array.from({ length: 1000 }, (_, i) => "x".repeat(10_000) + i);
    for (;;) kept.push(JSON.stringify([large, large, large]));
  },
  "unsettled-rejections": () => {
    for (;;) kept.push(Promise.reject(new Error("nobody looks")));
  },
  "error-stacks": () => {
    const deep = (depth) => depth === 0 ? new Error("x".repeat(1000)) : deep(depth - 1);
    Error.stackTraceLimit = 1000;
    for (;;) kept.push(deep(900), kept.at(-1)?.stack);
  },
  "message-channel": () => {
    for (;;) {
      const { port1 } = new MessageChannel();
      port1.postMessage(new Uint8Array(megabyte));
      kept.push(port1);
    }
  },

  // Depth.
  "recursion": function recursion() {
    return recursion() + 1;
  },
  "recursion-async": async function recursion() {
    await recursion();
  },
  "recursion-getter": () => text({ get x() { return this.x; } }.x),
  "recursion-to-string": () => {
    const odd = { toString: () => `${odd}` };
    return text(odd);
  },
  "recursion-proxy": () => {
    let proxy = {};
    for (let i = 0; i < 200_000; i++) proxy = new Proxy(proxy, {});
    return text(proxy.x);
  },
  "recursion-bind": () => {
    let f = () => 1;
    for (let i = 0; i < 200_000; i++) f = f.bind(null);
    return text(f());
  },
  "recursion-prototype": () => {
    let object = {};
    for (let i = 0; i < 1_000_000; i++) object = Object.create(object);
    return text(object.missing);
  },
  "recursion-json-parse": () => text(typeof JSON.parse("[".repeat(5_000_000) + "]".repeat(5_000_000))),
  "recursion-json-stringify": () => {
    let nested = [];
    for (let i = 0; i < 1_000_000; i++) nested = [nested];
    return text(JSON.stringify(nested).length);
  },
  "recursion-to-json": () => {
    const odd = { toJSON: () => JSON.stringify(odd) };
    return Response.json(odd);
  },
  "recursion-flat": () => {
    const ring = [];
    ring.push(ring);
    return text(ring.flat(Infinity).length);
  },
  "recursion-regex": () => text(new RegExp("(".repeat(100_000) + ")".repeat(100_000)).test("")),
  "recursion-regex-match": () => text(/(?:a|b)*c/.test("ab".repeat(5_000_000))),
  "recursion-structured-clone": () => {
    let nested = {};
    for (let i = 0; i < 200_000; i++) nested = { nested };
    structuredClone(nested);
    return text("cloned");
  },
  "recursion-rope": () => {
    let rope = "x";
    for (let i = 0; i < 2_000_000; i++) rope = i % 2 ? rope + "y" : "z" + rope;
    return text(rope.indexOf("q"));
  },
  "recursion-error-cause": () => {
    let error = new Error("x");
    for (let i = 0; i < 100_000; i++) error = new Error("y", { cause: error });
    throw error;
  },
  "recursion-promise": async () => {
    let promise = Promise.resolve(1);
    for (let i = 0; i < 500_000; i++) promise = promise.then((value) => value);
    return text(await promise);
  },

  // Answers.
  "huge-header": () => new Response("x", { headers: { "x-large": "v".repeat(50 * megabyte) } }),
  "many-headers": () => {
    const headers = new Headers();
    for (let i = 0; i < 40_000; i++) headers.append("x-" + i, "value");
    return new Response("x", { headers });
  },
  "zip-bomb": async () => {
    const packed = await bombOf(200);
    let bytes = 0;
    for await (const chunk of new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))) bytes += chunk.length;
    return text(bytes);
  },
  "zip-bomb-kept": async () => {
    const packed = await bombOf(400);
    return text((await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer()).byteLength);
  },
  "zip-bomb-at-once": async () => {
    const packed = await bombOf(1000);
    const bomb = new DecompressionStream("gzip");
    const writer = bomb.writable.getWriter();
    writer.write(packed).catch(() => {});
    const first = await bomb.readable.getReader().read();
    return text(first.value.length > 0);
  },
  "zip-endless": () => {
    const chunk = crypto.getRandomValues(new Uint8Array(65536));
    return new Response(new ReadableStream({ pull: (c) => c.enqueue(chunk) }).pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
  },
};

// So many MiB of zeros, packed.
async function bombOf(mebibytes) {
  const zeros = new Uint8Array(megabyte);
  let left = mebibytes;
  const source = new ReadableStream({ pull: (c) => left-- > 0 ? c.enqueue(zeros) : c.close() });
  return new Uint8Array(await new Response(source.pipeThrough(new CompressionStream("gzip"))).arrayBuffer());
}

let calls = 0;
export default {
  fetch(request, env, ctx) {
    const name = new URL(request.url).pathname.slice(1);
    if (name === "calls") return text(++calls);
    return handlers[name](request, env, ctx);
  },
};
