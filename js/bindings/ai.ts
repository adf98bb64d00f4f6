// The object behind `env.AI`: Workers AI, as the Cloudflare contract (section 6) describes it.
//
// Here are the options of `run`, its signal, and the errors' classes; inputs, models and answers are on the Rust side. Inputs and
// answers cross as JSON text.

(function () {
const { core, primordials } = __bootstrap;
const { op_ai_cancel, op_ai_cancellation, op_ai_models, op_ai_request_id, op_ai_run } = core.ops;
const {
  ArrayPrototypeJoin,
  ArrayPrototypePush,
  Error,
  JSONParse,
  JSONStringify,
  Number,
  ObjectDefineProperty,
  ObjectKeys,
  ObjectPrototypeIsPrototypeOf,
  StringPrototypeIncludes,
  StringPrototypeStartsWith,
  StringPrototypeToLowerCase,
  Symbol,
  SymbolToStringTag,
  TypeError,
} = primordials;

const { AbortSignalPrototype, add, remove } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { isReadableStream, readableStreamForRid } = core.loadExtScript("ext:deno_web/06_streams.js");
const { Response } = core.loadExtScript("ext:deno_fetch/23_response.js");
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");
const { sliceArray } = core.loadExtScript("ext:aerostack/platform/plain.ts");

// Not a plain object: what user code puts on Object.prototype is no option of ours.
const NO_OPTIONS = { __proto__: null };
const STREAM_HEADERS = { "content-type": "text/event-stream" };
const JSON_HEADERS = { "content-type": "application/json" };

// How `bindings/ai/src/ops.rs` is told that nobody can end a call.
const NO_CANCELLATION = -1;

const construct = Symbol("construct");

const isAbsent = (value: unknown) => value === undefined || value === null;

// A failure with the name and the text that Workers AI has for it.
class InferenceUpstreamError extends Error {
  constructor(message: string, name: string) {
    super(message);
    ObjectDefineProperty(this, "name", { __proto__: null, value: name, configurable: true, writable: true });
  }
}

class AiInternalError extends Error {
  constructor(message: string) {
    super(message);
    ObjectDefineProperty(this, "name", {
      __proto__: null,
      value: "AiInternalError",
      configurable: true,
      writable: true,
    });
  }
}

// What there is only in production. Without the check of an option a call would silently do something else.
function refuseOptions(options: any) {
  if (!isAbsent(options.gateway)) {
    throw new AiInternalError("the option `gateway` is not supported here: AI Gateway is a service of Cloudflare's network");
  }
  if (options.websocket) {
    throw new AiInternalError("the option `websocket` is not supported here: no model of this runtime talks over one");
  }
  if (options.queueRequest) {
    throw new AiInternalError("the option `queueRequest` is not supported here: use a queue of your own");
  }
}

function refuseStreams(inputs: any) {
  if (typeof inputs !== "object" || inputs === null) {
    return;
  }
  const found: string[] = [];
  const keys = ObjectKeys(inputs);
  for (let place = 0; place < keys.length; place++) {
    const value = inputs[keys[place]];
    if (isReadableStream(value) || (typeof value === "object" && value !== null && isReadableStream(value.body))) {
      ArrayPrototypePush(found, keys[place]);
    }
  }
  if (found.length === 0) {
    return;
  }
  if (found.length > 1) {
    throw new AiInternalError(
      `Multiple ReadableStreams are not supported. Found streams in keys: [${ArrayPrototypeJoin(found, ", ")}]`,
    );
  }
  const value = inputs[found[0]];
  if (isReadableStream(value) || isAbsent(value.contentType)) {
    throw new AiInternalError("Content-Type is required with ReadableStream inputs");
  }
  throw new AiInternalError(`the input \`${found[0]}\` is a stream: no model of this runtime takes one`);
}

function readSignal(options: any) {
  const { signal } = options;
  if (isAbsent(signal)) {
    return null;
  }
  if (!ObjectPrototypeIsPrototypeOf(AbortSignalPrototype, signal)) {
    throw new TypeError("the option `signal` is not an AbortSignal");
  }
  return signal;
}

// What ends a call when a signal fires. `forget` is called when there is nothing left to end.
function watch(signal: any) {
  const cancellation = op_ai_cancellation();
  const cancel = () => op_ai_cancel(cancellation);
  signal[add](cancel);
  const forget = () => {
    signal[remove](cancel);
    core.tryClose(cancellation);
  };
  return { cancellation, forget };
}

function streamOf(rid: number, signal: any, forget: () => void) {
  const onError = (controller: any, error: unknown) => {
    controller.error(signal !== null && signal.aborted ? signal.reason : error);
  };
  return readableStreamForRid(rid, true, undefined, onError, forget);
}

class Ai {
  #index: number;
  #requestId: string | null = null;
  #status: number | null = null;
  #internalStatus: number | null = null;

  constructor(key: symbol, index: number) {
    if (key !== construct) {
      throw new TypeError("Illegal constructor");
    }
    this.#index = index;
  }

  get lastRequestId() {
    return this.#requestId;
  }
  get lastRequestHttpStatusCode() {
    return this.#status;
  }
  get lastRequestInternalStatusCode() {
    return this.#internalStatus;
  }
  get aiGatewayLogId() {
    return null;
  }

  async run(model: unknown, inputs: unknown, options?: any) {
    options = isAbsent(options) ? NO_OPTIONS : options;
    const signal = readSignal(options);
    if (signal !== null && signal.aborted) {
      throw signal.reason;
    }
    refuseOptions(options);
    refuseStreams(inputs);
    const text = JSONStringify(inputs) ?? "null";
    const watched = signal === null ? null : watch(signal);
    const forget = () => watched?.forget();
    let answer;
    try {
      answer = await op_ai_run(this.#index, `${model}`, text, watched?.cancellation ?? NO_CANCELLATION);
    } catch (error) {
      forget();
      throw error;
    }
    this.#requestId = op_ai_request_id();
    this.#status = 200;
    this.#internalStatus = null;
    if (typeof answer === "number") {
      const stream = streamOf(answer, signal, forget);
      return options.returnRawResponse ? new Response(stream, { __proto__: null, headers: STREAM_HEADERS }) : stream;
    }
    forget();
    if (typeof answer === "string") {
      return options.returnRawResponse ? new Response(answer, { __proto__: null, headers: JSON_HEADERS }) : JSONParse(answer);
    }
    const { 0: name, 1: message, 2: number, 3: status, 4: description } = answer;
    this.#status = status;
    this.#internalStatus = number === 0 ? null : number;
    if (signal !== null && signal.aborted) {
      throw signal.reason;
    }
    if (options.returnRawResponse) {
      const failure = { internalCode: this.#internalStatus, name, message, description };
      return new Response(JSONStringify(failure), { __proto__: null, status, headers: JSON_HEADERS });
    }
    throw new InferenceUpstreamError(message, name);
  }

  async models(params?: any) {
    const { search, task, author, page, per_page: perPage } = isAbsent(params) ? {} : params;
    let models = JSONParse(op_ai_models(this.#index));
    const keep = (filter: unknown, matches: (model: any, filter: string) => boolean) => {
      if (!isAbsent(filter)) {
        const wanted = StringPrototypeToLowerCase(`${filter}`);
        const kept: unknown[] = [];
        for (let i = 0; i < models.length; i++) {
          if (matches(models[i], wanted)) {
            ArrayPrototypePush(kept, models[i]);
          }
        }
        models = kept;
      }
    };
    keep(search, (model, wanted) => StringPrototypeIncludes(StringPrototypeToLowerCase(model.name), wanted));
    keep(task, (model, wanted) => StringPrototypeToLowerCase(model.task.name) === wanted || model.task.id === wanted);
    keep(author, (model, wanted) => StringPrototypeStartsWith(model.name, `@cf/${wanted}/`));
    if (isAbsent(perPage)) {
      return models;
    }
    const size = Number(perPage);
    const first = (Number(page ?? 1) - 1) * size;
    return sliceArray(models, first, first + size);
  }

  gateway() {
    throw new AiInternalError("env.AI.gateway() is not supported here: AI Gateway is a service of Cloudflare's network");
  }

  autorag() {
    throw new AiInternalError(
      "env.AI.autorag() is not supported here: AutoRAG is a service of Cloudflare's network; use env.VECTORIZE",
    );
  }

  async toMarkdown() {
    throw new AiInternalError("env.AI.toMarkdown() is not supported here: it converts documents on Cloudflare's network");
  }
}
ObjectDefineProperty(Ai.prototype, SymbolToStringTag, { __proto__: null, value: "Ai", configurable: true });

const createAi = (index: number) => new Ai(construct, index);

refuseClones(Ai);

return { createAi };
})();
