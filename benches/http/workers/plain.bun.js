// Serves the worker that WORKER names with Bun. With REUSE_PORT several processes share the port: see cores.bun.js.
const { default: worker } = await import(process.env.WORKER);

export default {
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  reusePort: process.env.REUSE_PORT !== undefined,
  fetch: worker.fetch,
};
