// Webhooks as they should be taken: verified, answered at once, worked off from a durable queue, each event once.

import { isFromGitHub, isFromStripe } from "./signatures.ts";

interface Env {
  DB: Database;
  QUEUE: Queue;
  STRIPE_WEBHOOK_SECRET: string;
  GITHUB_WEBHOOK_SECRET: string;
}

interface WebhookEvent {
  source: "stripe" | "github";
  id: string;
  type: string;
  payload: unknown;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    if (request.method !== "POST") {
      return new Response("Method not allowed", { status: 405 });
    }
    // The signature is over the bytes as they came: the body is parsed only after it was verified.
    const body = await request.text();
    const event = await verified(new URL(request.url).pathname, request.headers, body, env);
    if (event instanceof Response) {
      return event;
    }
    // Once this resolves the event is on disk, and whoever sent it need not send it again.
    await env.QUEUE.send(event);
    return Response.json({ received: true });
  },

  async queue(batch: MessageBatch<WebhookEvent>, env: Env): Promise<void> {
    for (const message of batch.messages) {
      const { source, id, type, payload } = message.body;
      try {
        const { meta } = await env.DB
          .prepare("INSERT INTO webhook_events (source, event_id, type, payload) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
          .bind(source, id, type, JSON.stringify(payload))
          .run();
        // Senders repeat events, and a queue may deliver twice: only the first one is new.
        console.log(meta.changes === 1 ? `${source} ${type} ${id}` : `${source} ${id} was here before`);
        message.ack();
      } catch (error) {
        console.error(`${source} ${id}:`, error);
        message.retry();
      }
    }
  },
};

async function verified(path: string, headers: Headers, body: string, env: Env): Promise<WebhookEvent | Response> {
  switch (path) {
    case "/webhooks/stripe": {
      const signature = headers.get("stripe-signature");
      if (!signature) {
        return new Response("Missing signature", { status: 401 });
      }
      if (!await isFromStripe(body, signature, env.STRIPE_WEBHOOK_SECRET)) {
        return new Response("Invalid signature", { status: 401 });
      }
      const payload = JSON.parse(body);
      return { source: "stripe", id: payload.id, type: payload.type, payload };
    }
    case "/webhooks/github": {
      const signature = headers.get("x-hub-signature-256");
      if (!signature) {
        return new Response("Missing signature", { status: 401 });
      }
      if (!await isFromGitHub(body, signature, env.GITHUB_WEBHOOK_SECRET)) {
        return new Response("Invalid signature", { status: 401 });
      }
      const id = headers.get("x-github-delivery") ?? crypto.randomUUID();
      return { source: "github", id, type: headers.get("x-github-event") ?? "unknown", payload: JSON.parse(body) };
    }
    default:
      return new Response("Unknown webhook endpoint", { status: 404 });
  }
}
