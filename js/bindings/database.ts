// env.DB: Cloudflare D1's surface over the ops of bindings/database. Evaluates to { createDatabase }.
//
// A statement is text and parameters until it runs; running it is one op call. When the database answers at once, the op
// does too, and no trip through the event loop happens.

(function () {
const { core, primordials } = __bootstrap;
const {
  ArrayIsArray,
  ArrayBufferIsView,
  ArrayPrototypePush,
  Error,
  NumberPrototypeToString,
  ObjectDefineProperty,
  ObjectPrototype,
  String,
  StringPrototypePadStart,
  StringPrototypeSplit,
  StringPrototypeTrim,
  Symbol,
  TypedArrayPrototypeGetLength,
  TypedArrayPrototypeSet,
  TypeError,
  Uint8Array,
} = primordials;
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");
const { mapArray, sliceArray } = core.loadExtScript("ext:aerostack/platform/plain.ts");
// Late bound: ops taken while the snapshot is baked stay on V8's slow path for ever.
const ops = core.ops;

type Param = null | number | string | number[];

// A result as it comes out of an op: see OneResult in bindings/database/src/ops.rs. The columns are shared between results
// and must not be changed or handed out.
type OpResult = [
  columns: string[],
  cells: unknown[],
  duration: number,
  changes: number,
  lastRowId: number,
  changedDb: boolean,
  sizeAfter: number,
  rowsRead: number,
  rowsWritten: number,
  version: number,
  toRow: ToRow | undefined,
];

type RunOp = (database: number, sql: string, params: unknown[]) => Promise<OpResult>;

// Only code in this file makes statements, sessions and databases.
const construct = Symbol("construct");

function checkConstruct(key: unknown) {
  if (key !== construct) throw new TypeError("Illegal constructor");
}

function framed(frame: string, message: string) {
  return new Error(`${frame}: ${message}`, { cause: new Error(message) });
}

// What JavaScript says where D1 calls a method that an argument does not have.
function withoutMethod(value: unknown, name: string, method: string) {
  return new TypeError(
    value === undefined || value === null
      ? `Cannot read properties of ${value} (reading '${method}')`
      : `${name}.${method} is not a function`,
  );
}


type ToRow = (columns: string[], cells: unknown[], start: number) => Record<string, unknown>;

// One row as an object. Of columns with the same name the last one wins.
const toPlainRow: ToRow = (columns, cells, start) => {
  const row: Record<string, unknown> = {};
  for (let i = 0; i < columns.length; i++) {
    row[columns[i]] = cells[start + i];
  }
  return row;
};

// The same for names that Object.prototype has, `__proto__` and whatever user code put there: an assignment would call its setter.
const toDefinedRow: ToRow = (columns, cells, start) => {
  const row: Record<string, unknown> = {};
  for (let i = 0; i < columns.length; i++) {
    const descriptor = { __proto__: null, value: cells[start + i], configurable: true, enumerable: true, writable: true };
    ObjectDefineProperty(row, columns[i], descriptor);
  }
  return row;
};

function rowMaker(result: OpResult): ToRow {
  const compiled = result[10];
  if (compiled !== undefined) return compiled;
  const columns = result[0];
  for (let i = 0; i < columns.length; i++) {
    if (columns[i] in ObjectPrototype) return toDefinedRow;
  }
  return toPlainRow;
}

function toResult(result: OpResult) {
  const columns = result[0];
  const cells = result[1];
  const width = columns.length;
  const results = [];
  if (width !== 0) {
    const toRow = rowMaker(result);
    for (let start = 0, row = 0; start < cells.length; start += width, row++) {
      results[row] = toRow(columns, cells, start);
    }
  }
  return {
    success: true,
    meta: {
      served_by: "aerostack.db",
      duration: result[2],
      changes: result[3],
      last_row_id: result[4],
      changed_db: result[5],
      size_after: result[6],
      rows_read: result[7],
      rows_written: result[8],
    },
    results,
  };
}

function toFirst(result: OpResult, column: unknown) {
  const columns = result[0];
  const cells = result[1];
  if (cells.length === 0) return null;
  if (column === undefined) return rowMaker(result)(columns, cells, 0);
  for (let i = columns.length - 1; i >= 0; i--) {
    if (columns[i] === column) return cells[i];
  }
  throw new Error(`D1_COLUMN_NOTFOUND: Column not found (${String(column)})`, { cause: new Error("Column not found") });
}

function toArrays(result: OpResult, options?: { columnNames?: boolean }) {
  const columns = result[0];
  const cells = result[1];
  const width = columns.length;
  const rows: unknown[][] = [];
  if (options?.columnNames) rows[0] = sliceArray(columns);
  if (width !== 0) {
    for (let start = 0; start < cells.length; start += width) {
      ArrayPrototypePush(rows, sliceArray(cells, start, start + width));
    }
  }
  return rows;
}

function isByteArray(value: unknown[]) {
  for (let i = 0; i < value.length; i++) {
    const byte = value[i];
    if (!(typeof byte === "number" && byte >= 0 && byte < 256)) return false;
  }
  return true;
}

// The elements of a typed array as a plain one; a DataView has none.
function elementsOf(view: any) {
  const elements: number[] = [];
  if (!core.isTypedArray(view)) return elements;
  const length = TypedArrayPrototypeGetLength(view);
  for (let i = 0; i < length; i++) elements[i] = view[i];
  return elements;
}

function toParam(value: any): Param {
  switch (typeof value) {
    case "string":
    case "number":
      return value;
    case "boolean":
      return value ? 1 : 0;
    case "object":
      if (value === null) return null;
      if (ArrayIsArray(value)) {
        if (isByteArray(value)) return value;
      } else if (core.isArrayBuffer(value)) {
        return elementsOf(new Uint8Array(value));
      } else if (ArrayBufferIsView(value)) {
        return elementsOf(value);
      }
      break;
    case "symbol":
      throw new TypeError("Cannot convert a Symbol value to a string");
  }
  let text;
  try {
    text = String(value);
  } catch {
    // An object without a string form must not hide the error that is being made.
    text = "[object Object]";
  }
  throw framed("D1_TYPE_ERROR", `Type '${typeof value}' not supported for value '${text}'`);
}

// Parameters as the op takes them: bytes packed, because reading them one by one there is slow. `params` itself is public
// and stays as it is.
function toOpParams(params: Param[]) {
  let packed;
  for (let i = 0; i < params.length; i++) {
    const param = params[i];
    if (param !== null && typeof param === "object" && ArrayIsArray(param)) {
      packed ??= sliceArray(params);
      packed[i] = new Uint8Array(param.length);
      TypedArrayPrototypeSet(packed[i], param);
    }
  }
  return packed ?? params;
}

// What statements run on: a database, and for a session how far it has seen.
class Connection {
  database: number;
  isSession: boolean;
  bookmark: string | null;

  constructor(database: number, isSession: boolean, bookmark: string | null) {
    this.database = database;
    this.isSession = isSession;
    this.bookmark = bookmark;
  }

  // Bookmarks only move forward, in the order of strings.
  advance(version: number) {
    const low = version % 0x100000000;
    const high = (version - low) / 0x100000000;
    const hex = (part: number) => StringPrototypePadStart(NumberPrototypeToString(part, 16), 8, "0");
    const bookmark = `${hex(high)}-${hex(low)}-00000000-00000000000000000000000000000000`;
    if (this.bookmark === null || bookmark > this.bookmark) this.bookmark = bookmark;
  }
}

async function runBatch(connection: Connection, statements: any) {
  if (!ArrayIsArray(statements)) throw withoutMethod(statements, "statements", "map");
  const flat: unknown[] = [];
  for (let i = 0; i < statements.length; i++) {
    const statement = statements[i].statement;
    const params = statements[i].params;
    if (typeof statement !== "string") {
      throw framed("D1_ERROR", `batch() takes statements prepared from a string, but number ${i + 1} is none.`);
    }
    ArrayPrototypePush(flat, statement, toOpParams(params ?? []));
  }
  let results: OpResult[];
  try {
    results = await ops.op_database_batch(connection.database, flat);
  } catch (error: any) {
    throw framed("D1_ERROR", error.message);
  }
  if (connection.isSession) connection.advance(results[0][9]);
  return mapArray(results, toResult);
}

class D1PreparedStatement {
  #connection: Connection;
  statement: string;
  params: Param[];

  constructor(key: symbol, connection: Connection, statement: string, params: Param[]) {
    checkConstruct(key);
    this.#connection = connection;
    this.statement = statement;
    this.params = params;
  }

  bind(...values: unknown[]) {
    const params: Param[] = [];
    for (let i = 0; i < values.length; i++) params[i] = toParam(values[i]);
    return new D1PreparedStatement(construct, this.#connection, this.statement, params);
  }

  all() {
    return this.#run(ops.op_database_run, toResult);
  }

  run() {
    return this.#run(ops.op_database_run, toResult);
  }

  first(column?: string) {
    return this.#run(ops.op_database_first, toFirst, column);
  }

  raw(options?: { columnNames?: boolean }) {
    return this.#run(ops.op_database_run, toArrays, options);
  }

  async #run(op: RunOp, convert: (result: OpResult, option?: any) => unknown, option?: unknown) {
    const connection = this.#connection;
    const sql = this.statement;
    if (typeof sql !== "string") {
      const given = sql === null ? "null" : `a value of type ${typeof sql}`;
      throw framed("D1_ERROR", `prepare() takes a string of SQL, but was given ${given}.`);
    }
    let result: OpResult;
    try {
      result = await op(connection.database, sql, toOpParams(this.params));
    } catch (error: any) {
      throw framed("D1_ERROR", error.message);
    }
    if (connection.isSession) connection.advance(result[9]);
    return convert(result, option);
  }
}

class D1DatabaseSession {
  #connection: Connection;

  constructor(key: symbol, connection: Connection) {
    checkConstruct(key);
    this.#connection = connection;
  }

  prepare(sql: string) {
    return new D1PreparedStatement(construct, this.#connection, sql, []);
  }

  batch(statements: D1PreparedStatement[]) {
    return runBatch(this.#connection, statements);
  }

  getBookmark() {
    return this.#connection.bookmark;
  }
}

class D1Database {
  #connection: Connection;

  constructor(key: symbol, connection: Connection) {
    checkConstruct(key);
    this.#connection = connection;
  }

  prepare(sql: string) {
    return new D1PreparedStatement(construct, this.#connection, sql, []);
  }

  batch(statements: D1PreparedStatement[]) {
    return runBatch(this.#connection, statements);
  }

  // Each line is one query, and all are one transaction; blank lines and indented comments are none. An error always names line 1.
  async exec(sql: string) {
    if (typeof sql !== "string") throw withoutMethod(sql, "query", "trim");
    const lines = StringPrototypeSplit(StringPrototypeTrim(sql), "\n");
    const flat: unknown[] = [];
    for (let i = 0; i < lines.length; i++) ArrayPrototypePush(flat, lines[i], []);
    let results: OpResult[];
    try {
      results = await ops.op_database_batch(this.#connection.database, flat);
    } catch (error: any) {
      throw framed("D1_EXEC_ERROR", `Error in line 1: ${lines[0]}: ${error.message}`);
    }
    let duration = 0;
    for (let i = 0; i < results.length; i++) duration += results[i][2];
    return { count: results.length, duration };
  }

  async dump() {
    try {
      return await ops.op_database_dump(this.#connection.database);
    } catch (error: any) {
      throw framed("D1_DUMP_ERROR", error.message);
    }
  }

  // The database is one file on this machine, so every session sees every write before it; a bookmark is never waited for.
  withSession(constraintOrBookmark?: string) {
    const given = constraintOrBookmark ?? "";
    if (typeof given !== "string") throw withoutMethod(given, "constraintOrBookmark?", "trim");
    const start = StringPrototypeTrim(given);
    if (start === "" && given !== "") throw framed("D1_SESSION_ERROR", "invalid bookmark or constraint");
    const isConstraint = start === "" || start === "first-unconstrained" || start === "first-primary";
    return new D1DatabaseSession(construct, new Connection(this.#connection.database, true, isConstraint ? null : start));
  }
}

function createDatabase(database: number) {
  return new D1Database(construct, new Connection(database, false, null));
}

refuseClones(D1Database, D1DatabaseSession, D1PreparedStatement);

return { createDatabase };
})();
