// Handlers that leave the body of a request, or some of it, unread: the path says how.

const ways: Record<string, (request: Request, context: ExecutionContext) => unknown> = {
  "untouched": () => {},
  "looked-at": (request) => request.body === null,
  "one-chunk": (request) => request.body!.getReader().read(),
  "released": async (request) => {
    const reader = request.body!.getReader();
    await reader.read();
    reader.releaseLock();
  },
  "cancelled": async (request) => {
    const reader = request.body!.getReader();
    await reader.read();
    await reader.cancel("enough");
  },
  "locked": (request) => void request.body!.getReader(),
  "tee": (request) => void request.body!.tee(),
  "clone": (request) => void request.clone(),
  "new-request": (request) => void new Request(request),
  "piped": (request) => void request.body!.pipeThrough(new TransformStream()),
  // The answer does not wait for this work, and the body does not either.
  "later": (request, context) => {
    void request.body;
    context.waitUntil(scheduler.wait(3000));
  },
  "throws": () => {
    throw new Error("on purpose");
  },
  // The client is gone long before this ends.
  "waits": (request) => {
    void request.body;
    return scheduler.wait(60_000);
  },
  "read-later": (request, context) => context.waitUntil(read("read-later", request.text())),
  "open-later": (request, context) => {
    context.waitUntil(scheduler.wait(100).then(() => read("open-later", request.text())));
  },
};

async function read(way: string, text: Promise<string>) {
  try {
    console.log(`${way}: ${(await text).length} characters`);
  } catch (error) {
    console.log(`${way}: ${error}`);
  }
}

export default {
  async fetch(request: Request, _env: unknown, context: ExecutionContext): Promise<Response> {
    if (request.method === "GET") return new Response("next");
    const way = new URL(request.url).pathname.slice(1);
    await ways[way](request, context);
    return new Response(way.endsWith("-later") ? "early" : "unread");
  },
};
