// 1 MiB in 16 chunks, each enqueued when the stream asks for it.
const chunk = new Uint8Array(64 * 1024).fill("a".charCodeAt(0));

export default {
  fetch() {
    let left = 16;
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(chunk);
        left -= 1;
        if (left === 0) controller.close();
      },
    });
    return new Response(body);
  },
};
