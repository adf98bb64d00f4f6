// The other side of the fetch tests: says what it was sent, redirects, streams, fails.

const encoder = new TextEncoder();

async function echo(request: Request) {
  const url = new URL(request.url);
  return Response.json({
    method: request.method,
    path: url.pathname + url.search,
    headers: Object.fromEntries(request.headers),
    body: await request.text(),
  }, { status: Number(url.searchParams.get("status") ?? 200) });
}

function gzipped(text: string) {
  const body = new Response(text).body!.pipeThrough(new CompressionStream("gzip"));
  return new Response(body, { headers: { "content-encoding": "gzip", "content-type": "text/plain" }, encodeBody: "manual" });
}

// The bytes that body_sources.test.ts expects, encoded where `coding` says how.
async function patterned(coding: string) {
  const bytes = new Uint8Array(200_000).map((_, place) => (place * 31 + place / 251) % 251);
  if (coding === "") return new Response(bytes);
  return new Response(new Blob([bytes]).stream(), { headers: { "content-encoding": coding } });
}

function slow(signal: AbortSignal) {
  let left = 1000;
  return new Response(
    new ReadableStream({
      async pull(controller) {
        if (signal.aborted || left-- === 0) return controller.close();
        controller.enqueue(encoder.encode(`chunk ${1000 - left}\n`));
        await scheduler.wait(2);
      },
    }),
  );
}

async function form(request: Request) {
  const entries = [];
  for (const [name, value] of await request.formData()) {
    entries.push(typeof value === "string" ? [name, value] : [name, value.name, value.type, await value.text()]);
  }
  return Response.json(entries);
}

export default {
  async fetch(request: Request) {
    const url = new URL(request.url);
    const [, action, argument] = url.pathname.split("/");
    switch (action) {
      case "echo":
        return await echo(request);
      case "redirect":
        return new Response("moved", { status: Number(argument), headers: { location: url.searchParams.get("to") ?? "/echo/redirected" } });
      case "loop":
        return Response.redirect(request.url, 302);
      case "gzip":
        return gzipped("hello ".repeat(1000));
      case "slow":
        return slow(request.signal);
      case "never":
        return await new Promise<Response>((resolve) => setTimeout(() => resolve(new Response("late")), 20_000));
      case "form":
        return await form(request);
      case "body":
        return await patterned(url.search.slice(1));
      case "back":
        return new Response(await request.arrayBuffer());
      case "bytes":
        return new Response(new Uint8Array(Number(argument)).fill(7));
      case "cookies": {
        const headers = new Headers();
        headers.append("set-cookie", "a=1");
        headers.append("set-cookie", "b=2");
        return new Response("", { headers });
      }
      case "length":
        return new Response(String((await request.arrayBuffer()).byteLength));
      case "broken": {
        let sent = false;
        return new Response(
          new ReadableStream({
            pull(controller) {
              if (sent) controller.error(new Error("broken on purpose"));
              else controller.enqueue(encoder.encode("some"));
              sent = true;
            },
          }),
        );
      }
      default:
        return new Response("nothing here", { status: 404 });
    }
  },
};
