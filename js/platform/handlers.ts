// From an incoming request to the worker's handler and back: the path every request takes.
//
// The runtime calls `fetch(invocation, method, hasBody)`. The invocation is a number that names the request on the Rust
// side; everything else about it (URL, headers, body) is asked for only when the handler looks.

(function () {
const { core, primordials } = __bootstrap;
const {
  op_event_ended,
  op_invocation_body,
  op_invocation_body_failed,
  op_invocation_failed,
  op_invocation_header,
  op_invocation_headers,
  op_invocation_pass_through,
  op_invocation_respond_bytes,
  op_invocation_respond_empty,
  op_invocation_respond_encoded,
  op_invocation_respond_long_text,
  op_invocation_respond_stream,
  op_invocation_respond_text,
  op_invocation_url,
  op_invocation_wait_until_begin,
  op_invocation_wait_until_end,
  op_invocation_wait_until_failed,
  op_invocation_watch_cancel,
} = core.ops;
const {
  ArrayIsArray,
  ArrayPrototypePush,
  FunctionPrototype,
  MapPrototypeDelete,
  MapPrototypeGet,
  MapPrototypeSet,
  ObjectAssign,
  ObjectDefineProperty,
  ObjectGetPrototypeOf,
  ObjectPrototype,
  ObjectPrototypeIsPrototypeOf,
  ReflectGetOwnPropertyDescriptor,
  ReflectOwnKeys,
  SafeMap,
  SymbolToStringTag,
  TypeError,
  TypedArrayPrototypeGetSymbolToStringTag,
} = primordials;

const { fromInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const {
  ResponsePrototype,
  getInnerResponse,
  responseBodyUsed,
  serveFastBodyKey,
  serveFastConsumedKey,
  serveFastContentTypeKey,
  serveFastHeaderKindKey,
  serveFastStatusKey,
  SERVE_FAST_HEADER_DEFAULT_TEXT,
  SERVE_FAST_HEADER_NONE,
  toInnerResponse,
} = core.loadExtScript("ext:deno_fetch/23_response.js");
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const {
  acquireReadableStreamDefaultReader,
  getReadableStreamResourceBacking,
  isReadableStreamLocked,
  readableStreamThrowIfErrored,
  resourceForReadableStream,
} = core.loadExtScript("ext:deno_web/06_streams.js");
const { byteLowerCase } = core.loadExtScript("ext:deno_web/00_infra.js");
const { lengthOf, staticSourceOf } = core.loadExtScript("ext:aerostack/platform/body_streams.ts");
const { isEncodedByHand } = core.loadExtScript("ext:aerostack/platform/responses.ts");
const { createBodyStream, createEndedBody } = core.loadExtScript("ext:aerostack/platform/request_body.ts");
const { MessageBatch, ScheduledController } = core.loadExtScript("ext:aerostack/platform/events.ts");
const { createQueue, createQueueOfClones } = core.loadExtScript("ext:aerostack/bindings/queue.ts");
const bindings: Record<string, (value: unknown, name: unknown) => unknown> = {
  ai: core.loadExtScript("ext:aerostack/bindings/ai.ts").createAi,
  cache: core.loadExtScript("ext:aerostack/bindings/cache.ts").createCache,
  database: core.loadExtScript("ext:aerostack/bindings/database.ts").createDatabase,
  queue: createQueue,
  queue_of_clones: createQueueOfClones,
  storage: core.loadExtScript("ext:aerostack/bindings/storage.ts").createStorage,
  vectorize: core.loadExtScript("ext:aerostack/bindings/vectorize.ts").createVectorize,
};

// As the ops take headers: name and value, each with a line feed. Those that nearly every answer has are made once.
const TEXT_HEADERS = "content-type\ntext/plain;charset=UTF-8\n";
const JSON_HEADERS = "content-type\napplication/json\n";

// From here on the characters of an answer count as memory until its client has taken them.
const LONG_TEXT = 64 * 1024;

// What deno_fetch's Request reads from (its InnerRequest), answered from the Rust side on demand.
class IncomingRequest {
  methodInner: string;
  #invocation: number;
  #hasBody: boolean;
  #url: string | undefined;
  #headerList: [string, string][] | undefined;
  #body: unknown;

  constructor(invocation: number, method: string, hasBody: boolean) {
    this.#invocation = invocation;
    this.methodInner = method;
    this.#hasBody = hasBody;
  }

  get method() {
    return this.methodInner;
  }
  set method(value) {
    this.methodInner = value;
  }

  url() {
    return this.#url ??= op_invocation_url(this.#invocation);
  }
  currentUrl() {
    return this.url();
  }
  get urlList() {
    return [() => this.url()];
  }
  get urlListProcessed() {
    return [this.url()];
  }

  get headerList() {
    if (this.#headerList === undefined) {
      const flat = op_invocation_headers(this.#invocation);
      const list: [string, string][] = [];
      for (let i = 0; i < flat.length; i += 2) {
        ArrayPrototypePush(list, [flat[i], flat[i + 1]]);
      }
      this.#headerList = list;
    }
    return this.#headerList;
  }
  header(name: string): string | null {
    return op_invocation_header(this.#invocation, name);
  }

  get body() {
    if (this.#body === undefined) {
      this.#body = this.#hasBody ? this.#openBody() : null;
    }
    return this.#body;
  }
  set body(value) {
    this.#body = value;
  }

  // A body that has arrived whole is handed over as bytes; another becomes a stream over a resource, read as it is
  // pulled. One that ended with the answer is a text that says so.
  #openBody() {
    const source = op_invocation_body(this.#invocation);
    if (typeof source === "number") {
      return new InnerBody(createBodyStream(source));
    }
    if (typeof source === "string") {
      return new InnerBody(createEndedBody(source));
    }
    const body = new InnerBody({ __proto__: null, body: source, consumed: false });
    body.length = source.byteLength;
    return body;
  }

  onCancel(callback: () => void) {
    op_invocation_watch_cancel(this.#invocation);
    MapPrototypeSet(cancellable, this.#invocation, callback);
  }
}

// The same for all, so not in each.
ObjectAssign(IncomingRequest.prototype, { redirectMode: "manual", redirectCount: 0, clientRid: null, blobUrlEntry: null });

// Invocations whose `request.signal` somebody holds.
const cancellable = new SafeMap();

class ExecutionContext {
  #invocation: number;
  #props: object | undefined;

  constructor(invocation: number) {
    this.#invocation = invocation;
  }

  get props() {
    return this.#props ??= {};
  }

  // On Workers it is a property like any other; libraries put what they know of a user there.
  set props(value: any) {
    ObjectDefineProperty(this, "props", { __proto__: null, value, writable: true, enumerable: true, configurable: true });
  }

  waitUntil(promise: unknown) {
    const invocation = owner(this);
    op_invocation_wait_until_begin(invocation);
    follow(invocation, promise);
  }

  passThroughOnException() {
    op_invocation_pass_through(owner(this));
  }

  static owner(context: ExecutionContext) {
    if (typeof context !== "object" || context === null || !(#invocation in context)) {
      throw new TypeError(
        "Illegal invocation: function called with incorrect `this` reference. See https://developers.cloudflare.com/workers/observability/errors/#illegal-invocation-errors for details.",
      );
    }
    return context.#invocation;
  }
}
const owner = ExecutionContext.owner;
delete (ExecutionContext as any).owner;
ObjectDefineProperty(ExecutionContext.prototype, SymbolToStringTag, {
  __proto__: null,
  value: "ExecutionContext",
  configurable: true,
});

function respond(invocation: number, response: any) {
  if (!ObjectPrototypeIsPrototypeOf(ResponsePrototype, response)) {
    throw new TypeError(`fetch must return a Response, got ${described(response)}`);
  }
  if (responseBodyUsed(response)) {
    throw new TypeError(
      "Body has already been used. It can only be used once. Use tee() first if you need to read it twice.",
    );
  }
  // A plain `new Response(text)` or `Response.json(value)` keeps its parts in slots and never builds Headers or a stream.
  const status = response[serveFastStatusKey];
  if (status !== 0) {
    const whole = getInnerResponse(response).body?.streamOrStatic;
    if (whole !== undefined && whole.consumed === undefined && isReadableStreamLocked(whole)) {
      throw new TypeError("The ReadableStream has been locked to a reader.");
    }
    const body = response[serveFastBodyKey];
    const kind = response[serveFastHeaderKindKey];
    response[serveFastConsumedKey] = true;
    const headers = kind === SERVE_FAST_HEADER_NONE
      ? ""
      : kind === SERVE_FAST_HEADER_DEFAULT_TEXT
      ? TEXT_HEADERS
      : contentTypeHeaders(response[serveFastContentTypeKey]);
    return respondStatic(invocation, status, headers, body);
  }
  const inner = toInnerResponse(response);
  if (inner.type === "error") {
    throw new TypeError("Return value from handler must not be an error response (Response.error())");
  }
  const list = inner.headerList;
  const body = inner.body;
  let headers = "";
  let codings = 0;
  let coding = IDENTITY;
  for (let i = 0; i < list.length; i++) {
    const name = list[i][0];
    if (name.length === CONTENT_LENGTH.length && body !== null && byteLowerCase(name) === CONTENT_LENGTH && !isEmpty(body)) {
      // It follows from the body; a header may have come with another one.
      continue;
    }
    if (name.length === CONTENT_ENCODING.length && byteLowerCase(name) === CONTENT_ENCODING) {
      codings++;
      coding = codingOf(list[i][1]);
    }
    headers += name + "\n" + list[i][1] + "\n";
  }
  if (body === null) {
    return op_invocation_respond_empty(invocation, inner.status, headers);
  }
  if (codings !== 1 || isEncodedByHand(response)) {
    coding = IDENTITY;
  }
  return respondWithBody(invocation, inner.status, headers, body.streamOrStatic, coding);
}

const CONTENT_LENGTH = "content-length";
const CONTENT_ENCODING = "content-encoding";

// How a body is encoded, as the ops know it. Of other codings, and of lists, the body is what the handler made it.
const IDENTITY = 0;
const GZIP = 1;
const BROTLI = 2;

function codingOf(value: string) {
  switch (byteLowerCase(value)) {
    case "gzip":
      return GZIP;
    case "br":
      return BROTLI;
    default:
      return IDENTITY;
  }
}

// Whether a body is known to have no bytes.
function isEmpty({ streamOrStatic }: any) {
  return streamOrStatic.consumed === false && streamOrStatic.body.length === 0;
}

function respondWithBody(invocation: number, status: number, headers: string, streamOrStatic: any, coding: number) {
  if (streamOrStatic.consumed === false) {
    streamOrStatic.consumed = true;
    return coding === IDENTITY
      ? respondStatic(invocation, status, headers, streamOrStatic.body)
      : respondEncoded(invocation, status, headers, streamOrStatic.body, coding);
  }
  readableStreamThrowIfErrored(streamOrStatic);
  const backing = getReadableStreamResourceBacking(streamOrStatic);
  if (backing) {
    // The stream only forwards a resource: hand the resource itself to the connection, no chunk passes through V8.
    acquireReadableStreamDefaultReader(streamOrStatic);
    return op_invocation_respond_stream(invocation, status, headers, backing.rid, coding);
  }
  const source = staticSourceOf(streamOrStatic);
  if (source !== undefined) {
    acquireReadableStreamDefaultReader(streamOrStatic);
    return coding === IDENTITY
      ? respondStatic(invocation, status, headers, source)
      : respondEncoded(invocation, status, headers, source, coding);
  }
  const resource = resourceForReadableStream(streamOrStatic, lengthOf(streamOrStatic), (error: unknown) => {
    op_invocation_body_failed(invocation, error);
  });
  return op_invocation_respond_stream(invocation, status, headers, resource, coding);
}

function respondEncoded(invocation: number, status: number, headers: string, body: string | Uint8Array, coding: number) {
  const bytes = typeof body === "string" ? core.encode(body) : body;
  return op_invocation_respond_encoded(invocation, status, headers, bytes, coding);
}

// What a handler returned in place of a Response, in words.
function described(value: unknown) {
  if (value === undefined || value === null) {
    return `${value}`;
  }
  if (ArrayIsArray(value)) {
    return "an array";
  }
  const type = typeof value;
  return type === "object" ? "an object" : `a ${type}`;
}

function contentTypeHeaders(contentType: string) {
  return contentType === "application/json" ? JSON_HEADERS : `content-type\n${contentType}\n`;
}

function respondStatic(invocation: number, status: number, headers: string, body: unknown) {
  if (typeof body === "string") {
    if (body.length > LONG_TEXT) {
      return op_invocation_respond_long_text(invocation, status, headers, body);
    }
    return op_invocation_respond_text(invocation, status, headers, body);
  }
  if (body === null) {
    return op_invocation_respond_empty(invocation, status, headers);
  }
  if (TypedArrayPrototypeGetSymbolToStringTag(body) !== "Uint8Array") {
    throw new TypeError("unexpected response body");
  }
  return op_invocation_respond_bytes(invocation, status, headers, body);
}

async function settle(invocation: number, promise: unknown) {
  try {
    respond(invocation, await promise);
  } catch (error) {
    op_invocation_failed(invocation, error);
  }
}

async function follow(invocation: number, work: unknown) {
  try {
    await work;
  } catch (error) {
    op_invocation_wait_until_failed(invocation, error);
  }
  op_invocation_wait_until_end(invocation);
}

async function endEvent(invocation: number, promise: unknown) {
  try {
    await promise;
    op_event_ended(invocation);
  } catch (error) {
    op_invocation_failed(invocation, error);
  }
}

// The functions the runtime calls; made once in each isolate. What they throw fails the invocation: the runtime then
// knows the line, also of a value that is no Error.
function createHandlers() {
  let handler: Record<string, any> | undefined;
  let fetchHandler: unknown;
  const env: Record<string, unknown> = {};

  function runEvent(invocation: number, name: string, makeEvent: () => unknown) {
    core.setAsyncContext(invocation);
    try {
      if (typeof handler![name] !== "function") {
        throw new TypeError(`Handler does not export a ${name}() function.`);
      }
      endEvent(invocation, handler![name](makeEvent(), env, new ExecutionContext(invocation)));
    } finally {
      core.setAsyncContext(undefined);
    }
  }

  return {
    // Puts the bindings on `env`: [name, kind, index | value] triples, flat.
    bind(...triples: unknown[]) {
      for (let i = 0; i < triples.length; i += 3) {
        const kind = triples[i + 1] as string;
        const value = triples[i + 2];
        ObjectDefineProperty(env, triples[i], {
          __proto__: null,
          value: kind === "value" ? value : bindings[kind](value, triples[i]),
          configurable: true,
          enumerable: true,
          writable: true,
        });
      }
    },

    // Takes the main module's exports; throws where they hold no handlers.
    register(exports: Record<string, unknown>) {
      handler = exports.default as Record<string, any>;
      if (handler === undefined || handler === null) {
        throw new TypeError("the main module has no default export");
      }
      if (typeof handler !== "object" && typeof handler !== "function") {
        throw new TypeError(`the default export is a ${typeof handler}, not an object with handlers`);
      }
      fetchHandler = handler.fetch;
    },

    // Which handlers the default export has.
    has(name: string) {
      return typeof handler?.[name] === "function";
    },

    // The names of the default export's functions, a line each: one may be a handler with a typing mistake.
    names() {
      let names = "";
      let object: unknown = handler;
      try {
        while (object !== null && object !== ObjectPrototype && object !== FunctionPrototype) {
          const keys = ReflectOwnKeys(object);
          for (let i = 0; i < keys.length; i++) {
            const value = ReflectGetOwnPropertyDescriptor(object, keys[i])?.value;
            if (typeof keys[i] === "string" && typeof value === "function") {
              names += `${keys[i]}\n`;
            }
          }
          object = ObjectGetPrototypeOf(object);
        }
      } catch {
        return ""; // A proxy that does not tell.
      }
      return names;
    },

    fetch(invocation: number, method: string, hasBody: boolean) {
      core.setAsyncContext(invocation);
      try {
        if (typeof fetchHandler !== "function") {
          throw new TypeError("Handler does not export a fetch() function.");
        }
        const request = fromInnerRequest(new IncomingRequest(invocation, method, hasBody), "immutable");
        const result = handler!.fetch(request, env, new ExecutionContext(invocation));
        if (ObjectPrototypeIsPrototypeOf(ResponsePrototype, result)) {
          respond(invocation, result);
        } else {
          settle(invocation, result);
        }
      } finally {
        core.setAsyncContext(undefined);
      }
    },

    scheduled(invocation: number, cron: string, scheduledTime: number) {
      runEvent(invocation, "scheduled", () => new ScheduledController(invocation, cron, scheduledTime));
    },

    queue(invocation: number, queue: string) {
      runEvent(invocation, "queue", () => new MessageBatch(invocation, queue));
    },

    // The client is gone: `request.signal` fires where somebody asked for it.
    abort(invocation: number) {
      const callback = MapPrototypeGet(cancellable, invocation);
      if (callback !== undefined) {
        MapPrototypeDelete(cancellable, invocation);
        callback();
      }
    },

    // The invocation is over; nothing may be kept for it.
    finish(invocation: number) {
      MapPrototypeDelete(cancellable, invocation);
    },
  };
}

return { createHandlers, ExecutionContext };
})();
