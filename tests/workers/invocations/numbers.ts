// A worker that uses every way in which an invocation's number is carried along: headers that are read late, a binding call, lines
// that are logged after an await, work that goes on after the answer, a signal, and an answer that streams.

interface Env {
  CACHE: KVNamespace;
}

/** The first request of all, which is kept past its end. */
let kept: Request | undefined;

export default {
  async fetch(request, env, ctx): Promise<Response> {
    kept ??= request;
    const name = new URL(request.url).pathname.slice(1);
    if (name === "kept") {
      return new Response(String(kept.headers.get("x-name")));
    }
    request.signal.addEventListener("abort", () => {});
    await scheduler.wait(1);
    await env.CACHE.put(name, String(request.headers.get("x-name")));
    console.log(`put ${name}`);
    ctx.waitUntil(scheduler.wait(2).then(() => console.log(`waited ${name}`)));
    const stored = await env.CACHE.get(name);
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await scheduler.wait(1);
        controller.enqueue(new TextEncoder().encode(`${stored} ${await request.text()}`));
        controller.close();
      },
    });
    return new Response(body);
  },
} satisfies ExportedHandler<Env>;
