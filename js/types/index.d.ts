// Everything a worker can name without importing it, for the editor and for `tsc`. Nothing here exists at run time.
//
// The web platform's own types (Request, Response, URL ...) come from TypeScript's library: a tsconfig with
// `"lib": ["ESNext", "DOM", "DOM.Iterable"]`. What is added to them here is what the runtime adds.

/// <reference path="./handlers.d.ts" />
/// <reference path="./ai.d.ts" />
/// <reference path="./database.d.ts" />
/// <reference path="./errors.d.ts" />
/// <reference path="./cache.d.ts" />
/// <reference path="./storage.d.ts" />
/// <reference path="./streams.d.ts" />
/// <reference path="./vectorize.d.ts" />

interface Body {
  /** The body parsed as JSON, under the type the caller expects. Nothing checks at run time that it has it. */
  json<T>(): Promise<T>;
}

interface Scheduler {
  /** Resolves after so many milliseconds. Rejects with the signal's reason when it is aborted before. */
  wait(milliseconds: number, options?: { signal?: AbortSignal }): Promise<void>;
}

declare var scheduler: Scheduler;

interface ResponseInit {
  /**
   * Whether a body is encoded as the response's `content-encoding` (`gzip` or `br`) says: it is, unless it was before and this is
   * `"manual"`.
   */
  encodeBody?: "automatic" | "manual";
}

// Files that are imported as data.

declare module "*.txt" {
  const text: string;
  export default text;
}

declare module "*.html" {
  const text: string;
  export default text;
}

declare module "*.sql" {
  const text: string;
  export default text;
}

declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
