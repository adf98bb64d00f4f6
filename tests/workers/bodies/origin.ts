// Another server: compresses its answers, says that it moved without saying where, and tells what was sent to it.

const TEXT = "a line of text, ".repeat(1250);

async function packed(format: string) {
  const stream = new Response(TEXT).body!.pipeThrough(new CompressionStream(format as CompressionFormat));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const FORMATS: Record<string, string> = { gzip: "gzip", br: "brotli", deflate: "deflate" };

const by = (coding: string, status = 200): ResponseInit => ({ status, headers: { "content-encoding": coding }, encodeBody: "manual" });

export default {
  async fetch(request: Request) {
    const [, action, argument] = new URL(request.url).pathname.split("/");
    switch (action) {
      case "plain":
        return new Response(TEXT);
      case "part":
        return new Response((await packed("gzip")).slice(0, 50), by("gzip", 206));
      case "no-gzip":
        return new Response(TEXT, by("gzip"));
      case "cut-gzip":
        return new Response((await packed("gzip")).slice(0, -20), by("gzip"));
      case "status":
        return new Response("body", { status: Number(argument) });
      case "echo":
        return new Response(await request.text());
      case "unpack": {
        const stream = request.body!.pipeThrough(new DecompressionStream(FORMATS[argument] as CompressionFormat));
        return new Response(await new Response(stream).text());
      }
      default:
        return new Response(await packed(FORMATS[action]), by(action));
    }
  },
};
