// Answers clients of every kind while it is replaced, or while its server drains. Each version says which one it is.

const VERSION = 0;

const encoder = new TextEncoder();

// Five pieces with a pause between them.
function pieces(): ReadableStream<Uint8Array> {
  let next = 0;
  return new ReadableStream({
    async pull(controller) {
      await scheduler.wait(2);
      controller.enqueue(encoder.encode(`${next};`));
      next += 1;
      if (next === 5) controller.close();
    },
  });
}

export default {
  async fetch(request: Request, _env: unknown, context: ExecutionContext): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/version") return new Response(String(VERSION));
    if (pathname === "/length") return new Response(String((await request.arrayBuffer()).byteLength));
    if (pathname === "/echo") return new Response(request.body);
    if (pathname === "/pieces") return new Response(pieces());
    if (pathname === "/later") context.waitUntil(scheduler.wait(5));
    if (pathname === "/slow") await scheduler.wait(3);
    return new Response(pathname);
  },
};
