import { DatabaseSync } from "node:sqlite";
import process from "node:process";
import worker from "../../../examples/rest-api/src/index.ts";
import { databaseBinding, migrate } from "./database.ts";

const database = new DatabaseSync(process.env.DATABASE_FILE);
migrate(database);
const env = { DB: databaseBinding((sql) => database.prepare(sql)) };

export default {
  fetch: (request: Request) => worker.fetch(request, env),
};
