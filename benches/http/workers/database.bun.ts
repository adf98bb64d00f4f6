import { Database } from "bun:sqlite";
import { databaseBinding, migrate } from "./database.ts";

const { default: worker } = await import(process.env.WORKER);
const database = new Database(process.env.DATABASE_FILE);
migrate(database);
const env = { DB: databaseBinding((sql) => database.prepare(sql)) };

export default {
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch: (request: Request) => worker.fetch(request, env),
};
