import { DatabaseSync } from "node:sqlite";
import process from "node:process";
import { databaseBinding, migrate } from "./database.ts";

const { default: worker } = await import(`file://${process.env.WORKER}`);
const database = new DatabaseSync(process.env.DATABASE_FILE);
migrate(database);
const env = { DB: databaseBinding((sql) => database.prepare(sql)) };

export default {
  fetch: (request: Request) => worker.fetch(request, env),
};
