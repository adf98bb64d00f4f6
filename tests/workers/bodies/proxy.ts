// Passes on what another server answers, in every way there is.

async function* each(...chunks: any[]) {
  for (const chunk of chunks) yield chunk;
}

const from = (...chunks: any[]) =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

export default {
  async fetch(request: Request, env: { ORIGIN: string }) {
    const url = new URL(request.url);
    if (url.pathname === "/uploads") {
      const send = async (body: any) => await (await fetch(`${env.ORIGIN}/echo`, { method: "POST", body, duplex: "half" } as any)).text();
      const buffer = new Uint8Array([97, 98]).buffer;
      return Response.json([await send(from("text", "é")), await send(from(buffer)), await send(each("x", "y"))]);
    }
    const accept = request.headers.get("accept-encoding");
    const headers: Record<string, string> = accept === null ? {} : { "accept-encoding": accept };
    const answer = await fetch(env.ORIGIN + url.searchParams.get("path"), { headers });
    switch (url.pathname) {
      case "/as-is":
        return answer;
      case "/copy": {
        const copy = new Response(answer.body, answer);
        copy.headers.set("x-mine", "1");
        return copy;
      }
      case "/headers":
        return new Response(answer.body, { status: answer.status, headers: answer.headers });
      case "/text":
        return new Response(await answer.text(), answer);
      case "/clone": {
        const clone = answer.clone();
        await answer.arrayBuffer();
        return clone;
      }
      case "/transform":
        return new Response(answer.body!.pipeThrough(new TransformStream()), answer);
      case "/decoded": {
        const copy = new Response(answer.body, answer);
        copy.headers.delete("content-encoding");
        return copy;
      }
      case "/read":
        return new Response(await answer.text().catch((error) => `${error.name}: ${error.message}`));
      default:
        return Response.json([answer.status, await answer.text(), answer.redirected, answer.headers.get("location")]);
    }
  },
};
