// Serves workers/count.js with miniflare: `node miniflare.mjs PEERS_FOLDER HOST PORT`. Its queues are in memory.
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const [peers, host, port] = process.argv.slice(2);
const { Miniflare } = createRequire(path.join(peers, "package.json"))("miniflare");
const folder = path.dirname(fileURLToPath(import.meta.url));

const miniflare = new Miniflare({
  host,
  port: Number(port),
  modules: true,
  scriptPath: path.join(folder, "workers", "count.js"),
  compatibilityDate: "2026-07-01",
  queueProducers: { QUEUE: "jobs" },
  queueConsumers: { jobs: { maxBatchSize: 100, maxBatchTimeout: 0 } },
});
await miniflare.ready;
process.on("SIGTERM", async () => {
  await miniflare.dispose();
  process.exit(0);
});
