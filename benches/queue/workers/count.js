// One worker for both: it sends as many messages as a request asks for, and counts in memory what its own queue brings.
const body = { type: "email", to: "ada@example.com", subject: "Welcome", data: "x".repeat(100) };
const BATCH = 100;
const TOGETHER = 64;
let received = 0;

const senders = {
  async batch(queue, count) {
    for (let sent = 0; sent < count; sent += BATCH) {
      await queue.sendBatch(Array.from({ length: Math.min(BATCH, count - sent) }, () => ({ body })));
    }
  },
  async single(queue, count) {
    for (let sent = 0; sent < count; sent++) await queue.send(body);
  },
  async together(queue, count) {
    for (let sent = 0; sent < count; sent += TOGETHER) {
      await Promise.all(Array.from({ length: Math.min(TOGETHER, count - sent) }, () => queue.send(body)));
    }
  },
};

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const send = senders[pathname.slice(1)];
    if (send) await send(env.QUEUE, Number(searchParams.get("count")));
    return Response.json({ received });
  },

  queue(batch) {
    received += batch.messages.length;
  },
};
