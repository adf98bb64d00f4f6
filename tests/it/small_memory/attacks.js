// Every way we know of to have the process hold memory that no heap limit sees, one handler a path. What each must come to is said in
// `../small_memory.rs`.

const text = (value) => new Response(String(value));
// Long, and a few bytes in V8 until somebody reads it.
const long = (length = 4e8) => "x".repeat(length);
const megabytes = (count) => new Uint8Array(count << 20);
const rows = (count, what) =>
  `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ${count}) SELECT ${what} FROM c`;
const wide = "hex(zeroblob(500000)) AS v";
const values = (count) => Array(count).fill("hex(zeroblob(900000))").join(", ");
const settled = async (promises) => {
  const failed = (await Promise.allSettled(promises)).find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  return "all";
};

const handlers = {
  calls: () => text("called"),

  // Rows.
  "rows-raw": async ({ DB }) => text((await DB.prepare(rows(3000, wide)).raw()).length),
  "rows-all": async ({ DB }) => text((await DB.prepare(rows(3000, wide)).all()).results.length),
  "rows-numbers": async ({ DB }) => text((await DB.prepare(rows(1e9, "x")).raw()).length),
  "rows-blobs": async ({ DB }) => text((await DB.prepare(rows(1e6, "zeroblob(500000)")).raw()).length),
  "rows-batch": async ({ DB }) => text((await DB.batch(Array(100).fill(DB.prepare(rows(45, wide))))).length),
  "rows-returning": async ({ DB }) => {
    await DB.exec("CREATE TABLE IF NOT EXISTS wide (v)");
    return text((await DB.prepare(`INSERT INTO wide ${rows(100, wide)} RETURNING v`).all()).results.length);
  },
  "rows-first": async ({ DB }) => text(await DB.prepare(rows(1e9, `x, ${wide}`)).first("x")),
  // Not one of them is too large.
  "rows-at-once": async ({ DB }) => {
    const slow = `WITH RECURSIVE d(y) AS (SELECT 1 UNION ALL SELECT y + 1 FROM d LIMIT 100000) SELECT count(*) FROM d`;
    const sql = rows(30, `${wide}, (${slow})`);
    return text(await settled(Array.from({ length: 60 }, () => DB.prepare(sql).raw())));
  },

  // What SQLite needs to find them.
  "sql-registers": async ({ DB }) => text(await DB.prepare(`SELECT length(max(${values(100)}, ${values(20)}))`).first()),
  "sql-distinct": async ({ DB }) => {
    const sql = `SELECT count(*) AS n FROM (SELECT DISTINCT ${wide.replace(" AS v", "")} || x FROM (${rows(1500, "x")}))`;
    return text(await DB.prepare(sql).first("n"));
  },
  "sql-distinct-endless": async ({ DB }) => {
    const sql = `SELECT count(*) AS n FROM (SELECT DISTINCT hex(randomblob(500000)) || x FROM (${rows(1e9, "x")}))`;
    return text(await DB.prepare(sql).first("n"));
  },
  "sql-window": async ({ DB }) => {
    const sql = `SELECT count(*) AS n FROM (SELECT row_number() OVER (ORDER BY v || random()) FROM (${rows(1500, wide)}))`;
    return text(await DB.prepare(sql).first("n"));
  },
  "sql-group-concat": async ({ DB }) =>
    text((await DB.prepare(`SELECT group_concat(v) AS all_of_them FROM (${rows(1e6, wide)})`).first("all_of_them")).length),
  "sql-json": async ({ DB }) =>
    text((await DB.prepare(`SELECT json_group_array(v) AS all_of_them FROM (${rows(1e6, wide)})`).first("all_of_them")).length),
  "sql-shared-parameter": async ({ DB }) => {
    const parameter = long(1e6);
    const sql = `SELECT ${Array(100).fill("length(?)").join(", ")}`;
    return text(await settled([DB.prepare(sql).bind(...Array(100).fill(parameter)).raw()]));
  },
  "sql-shared-text": async ({ DB }) => text((await DB.batch(Array(1e5).fill(DB.prepare(`SELECT '${long(9e4)}'`)))).length),
  "sql-long-text": async ({ DB }) => text(await DB.prepare(`SELECT '${long()}'`).raw()),

  // What is thrown.
  "throw-long": () => {
    throw new Error(long());
  },
  "throw-long-cause": () => {
    throw new Error("outer", { cause: new Error(long(), { cause: new Error(long()) }) });
  },
  "throw-long-aggregate": () => {
    throw new AggregateError(Array.from({ length: 1000 }, () => new Error(long())), "All of them");
  },
  "throw-long-stack": () => {
    const error = new Error("short");
    error.stack = long();
    throw error;
  },
  "throw-long-name": () => {
    throw Object.assign(new Error("short"), { name: long() });
  },
  "throw-long-string": () => {
    throw long();
  },
  "throw-long-frozen": () => {
    throw Object.freeze(new Error(long()));
  },
  "reject-long": () => {
    Promise.reject(new Error(long()));
    return text("rejected");
  },
  "throw-long-later": () => {
    setTimeout(() => {
      throw new Error(long());
    });
    return text("later");
  },
  "error-in-wait-until": (env, ctx) => {
    ctx.waitUntil(Promise.reject(new Error(long())));
    return text("waits");
  },
  "log-long": () => {
    console.log(long());
    return text("logged");
  },

  // Built-ins that look at nothing until they are done.
  "sort-large": () => text(Array.from({ length: 8e6 }, Math.random).sort().length),
  "replace-all": () => text("a".repeat(1 << 27).replaceAll("a", "aaaa").length),

  // One long text.
  "respond-long": () => new Response(long(2e8)),
  "url-long": () => text(new URL(`http://a.test/${long()}`).href.length),
  "url-encoded-long": () => text(new URL(`http://a.test/${"é".repeat(1e8)}`).href.length),
  "search-params-long": () => text(new URLSearchParams({ a: "é".repeat(1e8) }).toString().length),
  "encode-long": () => text(new TextEncoder().encode(long()).length),
  "base64-long": () => text(btoa(long()).length),
  "blob-long": () => text(new Blob(Array(100).fill(long(1e8))).size),
  "clone-long": () => text(structuredClone(long()).length),
  "headers-long": () => text(new Headers({ a: long() }).get("a").length),
  "request-long": async () => text((await new Request("http://a.test", { method: "POST", body: long() }).text()).length),
  "json-long": () => text(JSON.stringify(Array(10).fill(long())).length),
  "pattern-long": () => text(new RegExp(long(1e8)).test("x")),
  "form-long": async () => {
    const form = new FormData();
    for (let i = 0; i < 100; i++) form.append("a", long(1e7));
    return text((await new Response(form).arrayBuffer()).byteLength);
  },

  // Bindings.
  "cache-put-long": async ({ CACHE }) => text(await CACHE.put("k", long())),
  "cache-puts-at-once": async ({ CACHE }) => {
    const value = long(2e7);
    return text(await settled(Array.from({ length: 200 }, (_, i) => CACHE.put(`k${i}`, value))));
  },
  "cache-bulk": async ({ CACHE }) => {
    for (let i = 0; i < 100; i++) await CACHE.put(`b${i}`, long(2e7));
    return text((await CACHE.get(Array.from({ length: 100 }, (_, i) => `b${i}`))).size);
  },
  "queue-send-long": async ({ QUEUE }) => text(await QUEUE.send(long())),
  "queue-send-batch-shared": async ({ QUEUE }) => text(await QUEUE.sendBatch(Array(100).fill({ body: long(1e8), contentType: "text" }))),
  "storage-put-long": async ({ STORAGE }) => text(await STORAGE.put("k", long())),
  "storage-gets-at-once": async ({ STORAGE }) => {
    await STORAGE.put("large", megabytes(50));
    return text(await settled(Array.from({ length: 50 }, async () => (await STORAGE.get("large")).arrayBuffer())));
  },
  "vectorize-long": async ({ VECTORIZE }) => {
    const vector = { values: Array(1000).fill(0.5), metadata: { text: long(1e6) } };
    return text(await VECTORIZE.insert(Array.from({ length: 1000 }, (_, i) => ({ ...vector, id: `v${i}` }))));
  },

  // Threads beside the isolate's.
  "digests-at-once": async () => {
    const data = megabytes(40);
    return text(await settled(Array.from({ length: 100 }, () => crypto.subtle.digest("SHA-256", data))));
  },
  "derivations-at-once": async () => {
    const key = await crypto.subtle.importKey("raw", new Uint8Array(8), "PBKDF2", false, ["deriveBits"]);
    const parameters = { name: "PBKDF2", hash: "SHA-256", salt: new Uint8Array(8), iterations: 100_000 };
    await settled(Array.from({ length: 100 }, () => crypto.subtle.deriveBits(parameters, key, 256)));
    return text("derived");
  },

  // A body from another server, gathered before V8 sees any of it.
  "fetch-endless": async (_env, _ctx, url) => text((await (await fetch(new URL("/endless", url))).arrayBuffer()).byteLength),
  endless: () => {
    const piece = megabytes(1);
    return new Response(new ReadableStream({ pull: (controller) => controller.enqueue(piece) }));
  },

  // Streams, messages, timers.
  "zip-bomb": async () => {
    const zip = new CompressionStream("gzip");
    const writer = zip.writable.getWriter();
    const zipped = new Response(zip.readable).arrayBuffer();
    const zeros = megabytes(16);
    for (let i = 0; i < 64; i++) await writer.write(zeros);
    await writer.close();
    const unzip = new DecompressionStream("gzip");
    const unzipper = unzip.writable.getWriter();
    unzipper.write(new Uint8Array(await zipped)).catch(() => {});
    unzipper.close().catch(() => {});
    return text((await new Response(unzip.readable).arrayBuffer()).byteLength);
  },
  "messages-queued": () => {
    const { port1, port2 } = new MessageChannel();
    for (let i = 0; i < 1000; i++) port1.postMessage(long(1e7));
    return text(port2);
  },
  "messages-in-short-turns": async () => {
    const { port1, port2 } = new MessageChannel();
    for (;;) {
      port1.postMessage(long(1e6));
      await new Promise((resolve) => setTimeout(resolve));
      if (!port2) break;
    }
  },
  // Built-ins with memory of their own, which do not see that they are stopped.
  normalize: () => text("\ufdfa".repeat(2.9e7).normalize("NFKD").length),
  "pattern-groups": () => text(new RegExp("(?:[ab]c|)".repeat(4e6)).test("x")),
  // V8 lets one object past the heap's limit, and may not have more when the buffer is refused.
  "flat-then-buffer": () => {
    const flat = long();
    return text(/y/.test(flat) || /y/.test(`${flat}`) || new Uint8Array(2e8).length + flat.length);
  },
  formats: () => {
    const kept = [];
    for (let i = 0; i < 5e4; i++) kept.push(new Intl.DateTimeFormat("en", { timeZone: "Asia/Tokyo", dateStyle: "full" }));
    return text(kept.length);
  },
  "timers-with-text": () => {
    for (let i = 0; i < 1e6; i++) setTimeout(() => {}, 1e6, `${i}${long(1000)}`);
    return text("set");
  },
  "streams-unread": () => {
    const kept = [];
    for (let i = 0; i < 1000; i++) kept.push(new Blob([new Uint8Array(5e6)]).stream());
    return text(kept.length);
  },

  // Answers.
  "answer-text": () => new Response(long(3e7)),
  "answer-bytes": () => new Response(new Uint8Array(3e7)),
};

export default {
  async fetch(request, env, ctx) {
    const name = new URL(request.url).pathname.slice(1);
    const isThrown = name.startsWith("throw-");
    try {
      return await handlers[name](env, ctx, request.url);
    } catch (error) {
      if (isThrown) throw error;
      return new Response(`caught ${String(error?.message).slice(0, 1000)}`, { status: 400 });
    }
  },
};
