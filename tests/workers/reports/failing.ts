interface Env {
  CACHE: { get(key: string): Promise<string | null> };
  DBB: { prepare(sql: string): unknown };
  SESSIONS: { get(key: string): unknown };
}

declare const localStorage: { length: number };
declare const CACHE: unknown;

type Handler = (env: Env) => unknown;

// What each path does; the reports are compared in tests/it/reports.rs.
const handlers: Record<string, Handler> = {
  "/nothing": () => undefined,
  "/text": () => "text",
  "/object": () => ({ status: 200 }),
  "/list": () => [1],
  "/object-thrown": () => {
    throw { code: 7, nested: { list: [1, 2] } };
  },
  "/text-thrown": () => {
    throw "only text";
  },
  "/object-rejected": () => Promise.reject({ code: 8 }),
  "/any": () => Promise.any([Promise.reject(new Error("one")), Promise.reject(new RangeError("two"))]),
  "/misspelled": (env) => env.DBB.prepare("SELECT 1"),
  "/unbound": (env) => env.SESSIONS.get("k"),
  "/browser": () => localStorage.length,
  "/global": () => CACHE,
  "/stack": () => new Response(new Error("x").stack),
  "/stack-of-a-binding": async (env) => {
    const error = await (env.CACHE.get("") as Promise<string | null>).catch((error: Error) => error);
    return new Response((error as Error).stack);
  },
};

export default {
  fetch(request: Request, env: Env) {
    return handlers[new URL(request.url).pathname](env);
  },
};
