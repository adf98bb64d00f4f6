// One path a binding, and some of what a worker does without one. Keys come round again, so that what is kept stays of one size.
const KEYS = 500;
const body = (length) => "0123456789abcdef".repeat(length / 16);

const paths = {
  db: async (env, key) => {
    await env.DB.prepare("INSERT OR REPLACE INTO pages (key, body) VALUES (?, ?)").bind(key, body(2048)).run();
    return env.DB.prepare("SELECT count(*) AS n FROM pages").first("n");
  },
  batch: async (env, key) => {
    const insert = env.DB.prepare("INSERT OR REPLACE INTO pages (key, body) VALUES (?, ?)");
    await env.DB.batch([0, 1, 2, 3].map((place) => insert.bind(key + place, body(256))));
    return "batched";
  },
  cache: async (env, key) => {
    await env.CACHE.put(`k${key}`, body(4096), { expirationTtl: 60 });
    return (await env.CACHE.get(`k${(key * 7) % KEYS}`))?.length ?? 0;
  },
  queue: async (env, key) => {
    await env.QUEUE.sendBatch([0, 1, 2].map((place) => ({ body: { key, place } })));
    return "sent";
  },
  storage: async (env, key) => {
    await env.STORAGE.put(`o${key % 50}`, body(65536));
    const object = await env.STORAGE.get(`o${(key * 7) % 50}`);
    return object === null ? 0 : (await object.arrayBuffer()).byteLength;
  },
  vectorize: async (env, key) => {
    const values = Array.from({ length: 64 }, (_, place) => Math.sin(key * 31 + place));
    await env.VECTORIZE.upsert([{ id: `v${key}`, values, metadata: { key } }]);
    return (await env.VECTORIZE.query(values, { topK: 3 })).matches.length;
  },
  stream: () => new Blob([body(262144)]).stream().pipeThrough(new CompressionStream("gzip")),
  throw: () => { throw new Error("on purpose"); },
  compute: () => Array.from({ length: 5000 }, (_, number) => number * 7919 % 5003).sort((one, other) => one - other)[17],
};

export default {
  async fetch(request, env) {
    const [, path, key] = new URL(request.url).pathname.split("/");
    const answer = await paths[path](env, Number(key) % KEYS);
    return new Response(answer instanceof ReadableStream ? answer : String(answer));
  },
  async queue(batch, env) {
    await env.CACHE.put("last", String(batch.messages.length));
  },
  async scheduled(event, env) {
    await env.DB.prepare("INSERT OR REPLACE INTO pages (key, body) VALUES (-1, ?)").bind(String(event.scheduledTime)).run();
  },
};
