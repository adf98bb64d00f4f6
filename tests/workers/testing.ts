// What the tests in these folders are written with. Only the public Workers surface is used, so that the same files run in
// workerd too: `GET /?test=<name>` on a worker whose handler is `answer` runs one test.

/** What a test gets: the worker's `env`. */
export type Env = Record<string, any>;

/** What an error must look like. A text is compared whole. */
export interface ExpectedError {
  name?: string;
  message: string | RegExp;
  cause?: string;
}

type Body = (env: Env, context: ExecutionContext) => unknown;

const tests = new Map<string, Body>();

/** Declares a test, named as a sentence. */
export function test(name: string, body: Body) {
  if (tests.has(name)) throw new Error(`two tests are named ${JSON.stringify(name)}`);
  tests.set(name, body);
}

/** Runs the test that the request names and answers with `{ error, known }`: what it threw, and all tests there are. */
export async function answer(request: Request, env: Env, context: ExecutionContext) {
  const name = new URL(request.url).searchParams.get("test") ?? "";
  let error: string | null = null;
  try {
    const body = tests.get(name);
    if (body === undefined) throw new Error(`there is no test ${JSON.stringify(name)}`);
    await body(env, context);
  } catch (thrown) {
    error = thrown instanceof Error ? thrown.stack ?? String(thrown) : `not an error: ${String(thrown)}`;
    if (thrown instanceof Error && thrown.cause) error += `\ncause: ${thrown.cause}`;
  }
  return Response.json({ error, known: [...tests.keys()] });
}

/** Fails unless the value is true. */
export function assert(condition: unknown, message = "expected something true"): asserts condition {
  if (condition !== true) throw new Error(`${message}, got ${show(condition)}`);
}

/** Fails unless both are the same all the way down: types, keys and their values, elements, bytes. */
export function assertEquals(actual: unknown, expected: unknown, what = "") {
  const difference = compare(actual, expected, what || "value");
  if (difference !== null) {
    throw new Error(`${difference}\n  actual:   ${show(actual)}\n  expected: ${show(expected)}`);
  }
}

/** Fails unless the function throws, before it returns anything, what is expected. Returns the error. */
export function assertThrows(run: () => unknown, expected: ExpectedError): any {
  let returned;
  try {
    returned = run();
  } catch (error) {
    return checkError(error, expected);
  }
  throw new Error(`expected it to throw ${show(expected.message)}, but it returned ${show(returned)}`);
}

/** Fails unless the promise (and not the call that made it) fails as expected. Returns the error. */
export async function assertRejects(run: () => Promise<unknown>, expected: ExpectedError): Promise<any> {
  const promise = run();
  assert(typeof promise?.then === "function", "expected a promise");
  let value;
  try {
    value = await promise;
  } catch (error) {
    return checkError(error, expected);
  }
  throw new Error(`expected it to fail with ${show(expected.message)}, but it became ${show(value)}`);
}

function checkError(error: any, expected: ExpectedError) {
  assert(error instanceof Error, `expected an Error, got ${show(error)}`);
  const matches = typeof expected.message === "string"
    ? error.message === expected.message
    : expected.message.test(error.message);
  if (!matches) {
    throw new Error(`wrong message\n  actual:   ${error.name}: ${error.message}\n  expected: ${show(expected.message)}`);
  }
  assertEquals(error.name, expected.name ?? "Error", "error.name");
  if (expected.cause !== undefined) {
    const cause = error.cause as Error;
    assert(cause instanceof Error, `expected a cause, got ${show(cause)}`);
    assertEquals(cause.message, expected.cause, "error.cause.message");
  }
  return error;
}

function compare(actual: any, expected: any, path: string): string | null {
  if (Object.is(actual, expected)) return null;
  if (typeof actual !== "object" || typeof expected !== "object" || actual === null || expected === null) {
    return `${path} differs: ${show(actual)} is not ${show(expected)}`;
  }
  const [kind, expectedKind] = [kindOf(actual), kindOf(expected)];
  if (kind !== expectedKind) return `${path} is ${kind}, not ${expectedKind}`;
  if (actual instanceof ArrayBuffer) return compare(new Uint8Array(actual), new Uint8Array(expected), path);
  if (actual instanceof Map) return compare([...actual], [...expected], path);
  if (actual instanceof Set) return compare([...actual], [...expected], path);
  if (actual instanceof Date) return compare(actual.getTime(), expected.getTime(), path);
  const keys = Object.keys(actual);
  const expectedKeys = Object.keys(expected);
  if (Array.isArray(actual) && actual.length !== expected.length) {
    return `${path} has ${actual.length} elements, not ${expected.length}`;
  }
  for (const key of expectedKeys) {
    if (!Object.hasOwn(actual, key)) return `${path} has no ${key}`;
    const difference = compare(actual[key], expected[key], `${path}.${key}`);
    if (difference !== null) return difference;
  }
  const extra = keys.find((key) => !Object.hasOwn(expected, key));
  return extra === undefined ? null : `${path} has ${extra} too`;
}

function kindOf(value: object) {
  return Object.prototype.toString.call(value).slice(8, -1);
}

function show(value: unknown): string {
  if (value instanceof RegExp || typeof value === "function" || typeof value === "symbol") return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" || value === undefined) return Object.is(value, -0) ? "-0" : String(value);
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (value instanceof Map) return `Map ${show([...value])}`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer ${show([...new Uint8Array(value)])}`;
  const text = JSON.stringify(value);
  return text !== undefined && text.length > 600 ? `${text.slice(0, 600)}...` : String(text);
}
