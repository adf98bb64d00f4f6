// Serves a worker with miniflare, its database and its cache on disk:
// `node miniflare.mjs PEERS_FOLDER HOST PORT WORKER STATE_FOLDER MIGRATION`.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [peers, host, port, worker, state, migration] = process.argv.slice(2);
const { Miniflare } = createRequire(path.join(peers, "package.json"))("miniflare");

const options = {
  host,
  modulesRoot: path.dirname(worker),
  modules: [{ type: "ESModule", path: worker }],
  compatibilityDate: "2026-07-01",
  d1Databases: ["DB"],
  d1Persist: path.join(state, "database"),
  kvNamespaces: ["CACHE"],
  kvPersist: path.join(state, "cache"),
  // Neither a look-up on the network nor a line for each request.
  cf: false,
  logRequests: false,
};

// It answers as soon as it listens, so the tables are made by one that listens elsewhere.
const migrating = new Miniflare(options);
const database = await migrating.getD1Database("DB");
const statements = readFileSync(migration, "utf8").split(";").filter((sql) => sql.trim() !== "");
await database.batch(statements.map((sql) => database.prepare(sql)));
await migrating.dispose();

const miniflare = new Miniflare({ ...options, port: Number(port) });
await miniflare.ready;
process.on("SIGTERM", async () => {
  await miniflare.dispose();
  process.exit(0);
});
