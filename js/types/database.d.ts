// `env.DB`: an SQL database with the surface of Cloudflare D1.

/** The database on `env.DB`. */
interface Database {
  /**
   * A statement, not yet sent. Parameters are `?` or `?1`, `?2` ... and are filled in by `bind()`.
   *
   * Nothing is checked here: a mistake in the SQL shows when the statement runs.
   */
  prepare(sql: string): D1PreparedStatement;
  /** Runs statements in one transaction, in order. When one fails none has happened, and the promise rejects. */
  batch<Row = Record<string, unknown>>(statements: D1PreparedStatement[]): Promise<D1Result<Row>[]>;
  /** Runs SQL without parameters in one transaction. Each line is one query: a statement may not span lines. */
  exec(sql: string): Promise<D1ExecResult>;
  /** The whole database as one SQLite file. */
  dump(): Promise<ArrayBuffer>;
  /** A session, whose bookmark tells how far it has seen. */
  withSession(constraintOrBookmark?: D1SessionConstraint | D1SessionBookmark): D1DatabaseSession;
}

/** Cloudflare's name for `Database`. */
interface D1Database extends Database {}

/** A statement. Reusable; `bind()` leaves it as it is and returns a new one. */
interface D1PreparedStatement {
  /** The text, as given to `prepare()`. */
  readonly statement: string;
  /** The parameters, as `bind()` took them. */
  readonly params: unknown[];
  /**
   * The same statement with parameters, in order: `null`, numbers, strings, booleans, and bytes as an `ArrayBuffer`, a typed
   * array or an array of numbers below 256. Anything else, `undefined` included, throws `D1_TYPE_ERROR` at once.
   */
  bind(...values: unknown[]): D1PreparedStatement;
  /** The first row, or `null`. */
  first<Row = Record<string, unknown>>(): Promise<Row | null>;
  /** One column of the first row, or `null` without a row. Rejects with `D1_COLUMN_NOTFOUND` for an unknown column. */
  first<Value = unknown>(column: string): Promise<Value | null>;
  /** All rows, and what the statement did. */
  all<Row = Record<string, unknown>>(): Promise<D1Result<Row>>;
  /** The same as `all()`, for statements that are run for what they change. */
  run<Row = Record<string, unknown>>(): Promise<D1Result<Row>>;
  /** All rows as arrays, with the names of the columns as the first one. */
  raw<Row = unknown[]>(options: { columnNames: true }): Promise<[string[], ...Row[]]>;
  /** All rows as arrays. */
  raw<Row = unknown[]>(options?: { columnNames?: false }): Promise<Row[]>;
}

/** What a statement returned. */
interface D1Result<Row = unknown> {
  /** Always true: a statement that fails rejects. */
  readonly success: true;
  /** The rows. A BLOB is an array of numbers. */
  readonly results: Row[];
  readonly meta: D1Meta;
}

/** Cloudflare's name for a result without rows. */
type D1Response = Omit<D1Result, "results">;

/** What a statement did. */
interface D1Meta {
  /** Who answered. */
  served_by: string;
  /** Milliseconds the statement ran. */
  duration: number;
  /** Rows inserted, updated and deleted. */
  changes: number;
  /** The rowid of the newest row. */
  last_row_id: number;
  /** Whether the statement changed the database. */
  changed_db: boolean;
  /** Size of the database in bytes. */
  size_after: number;
  rows_read: number;
  /** Rows written, index entries included. */
  rows_written: number;
}

interface D1ExecResult {
  /** Lines that ran. */
  count: number;
  /** Milliseconds they took. */
  duration: number;
}

/** A database seen through a session. */
interface D1DatabaseSession {
  prepare(sql: string): D1PreparedStatement;
  batch<Row = Record<string, unknown>>(statements: D1PreparedStatement[]): Promise<D1Result<Row>[]>;
  /** The newest state this session has seen; `null` before its first query, unless it began with a bookmark. */
  getBookmark(): D1SessionBookmark | null;
}

type D1SessionConstraint = "first-primary" | "first-unconstrained";
type D1SessionBookmark = string;
