// `/get` reads and `/put` writes one of a hundred keys in turn, each with 1 KiB; `/read/KEY` reads that key.
const KEYS = 100;
const value = "v".repeat(1024);
let turn = 0;

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/get") {
      return new Response(await env.CACHE.get(`key-${turn++ % KEYS}`));
    }
    if (pathname === "/put") {
      const key = `key-${turn++ % KEYS}`;
      await env.CACHE.put(key, `${turn} ${value}`);
      return new Response(key);
    }
    return new Response(await env.CACHE.get(pathname.slice("/read/".length)));
  },
};
