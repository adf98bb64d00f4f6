// The part of `env.DB` that the REST recipe uses, as thin as it can be, over the SQLite that the peer brings: so that the
// peer runs the recipe's very bytes, and pays for nothing but its own SQLite and its own HTTP.

import { readFileSync } from "node:fs";

const MIGRATION = new URL("../../../examples/rest-api/migrations/0001_create_items.sql", import.meta.url);

// The settings of bindings/database/src/drivers/sqlite/setup.rs: same durability, same memory.
const SETTINGS = `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;
  PRAGMA cache_size = -8000; PRAGMA journal_size_limit = 67108864;`;

export function migrate(database) {
  database.exec(SETTINGS);
  database.exec(readFileSync(MIGRATION, "utf8").replace(/CREATE (TABLE|INDEX)/g, "CREATE $1 IF NOT EXISTS"));
}

// `prepare` compiles a statement; it is asked once for each text.
export function databaseBinding(prepare) {
  const compiled = new Map();
  return {
    prepare(sql: string) {
      let statement = compiled.get(sql);
      if (statement === undefined) {
        statement = prepare(sql);
        compiled.set(sql, statement);
      }
      return new Statement(statement, []);
    },
  };
}

class Statement {
  constructor(private compiled, private values: unknown[]) {}

  bind(...values: unknown[]) {
    return new Statement(this.compiled, values);
  }
  async all() {
    return { success: true, results: this.compiled.all(...this.values) };
  }
  async first() {
    return this.compiled.get(...this.values) ?? null;
  }
  async run() {
    return { success: true, meta: this.compiled.run(...this.values) };
  }
}
