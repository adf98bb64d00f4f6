import { Database } from "bun:sqlite";
import worker from "../../../examples/rest-api/src/index.ts";
import { databaseBinding, migrate } from "./database.ts";

const database = new Database(process.env.DATABASE_FILE);
migrate(database);
const env = { DB: databaseBinding((sql) => database.prepare(sql)) };

export default {
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch: (request: Request) => worker.fetch(request, env),
};
