// Each path harms in one way.
const chunk = new Uint8Array(65536);
export default {
  fetch(request) {
    const path = new URL(request.url).pathname;
    if (path === "/loop") for (;;);
    if (path === "/allocate") for (const kept = [];;) kept.push({ at: kept.length });
    if (path === "/buffers") for (const kept = [];;) kept.push(new Uint8Array(1 << 20).fill(1));
    return new Response(new ReadableStream({ pull: (controller) => controller.enqueue(chunk) }));
  },
};
