// The objects behind `env.QUEUE`: the producer of Cloudflare Queues, as the Cloudflare contract (section 3.1) describes it.
//
// Here are the serialisation and the TypeErrors; sizes, delays and the texts of `Queue ... failed` are on the Rust side.

(function () {
const { core, primordials } = __bootstrap;
const { op_queue_metrics, op_queue_send, op_queue_send_batch } = core.ops;
const {
  ArrayBufferIsView,
  ArrayPrototypePush,
  JSONStringify,
  ObjectDefineProperty,
  StringPrototypeToLowerCase,
  Symbol,
  SymbolIterator,
  SymbolToStringTag,
  TypeError,
  Uint8Array,
} = primordials;
const { checkOptions, isObject, refused, requireArgument, toInteger } = core.loadExtScript(
  "ext:aerostack/platform/arguments.ts",
);
const { bytesOf } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");
const { copyBytes } = core.loadExtScript("ext:aerostack/platform/plain.ts");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { metricsOf } = core.loadExtScript("ext:aerostack/platform/events.ts");

const construct = Symbol("construct");

// How messages name the methods.
const SEND = { name: "send", of: "WorkerQueue" };
const SEND_BATCH = { name: "sendBatch", of: "WorkerQueue" };

// How `bindings/queue/src/ops.rs` numbers content types.
const CONTENT_TYPES = { __proto__: null, json: 0, text: 1, bytes: 2, v8: 3 };

type ContentType = "json" | "text" | "bytes" | "v8";

function contentTypeOf(given: unknown, fallback: ContentType): ContentType {
  if (given === undefined) {
    return fallback;
  }
  const name = StringPrototypeToLowerCase(`${given}`);
  if (!(name in CONTENT_TYPES)) {
    throw new TypeError(`Unsupported queue message content type: ${given}`);
  }
  return name as ContentType;
}

// Text, or bytes that nobody changes any more.
function serialize(body: any, contentType: ContentType): string | Uint8Array {
  if (body === undefined) {
    throw new TypeError("Message body cannot be undefined");
  }
  switch (contentType) {
    case "json": {
      const json = JSONStringify(body);
      if (json === undefined) {
        throw new TypeError(`Content Type "json" requires a value that JSON can hold, but received: ${typeof body}`);
      }
      return json;
    }
    case "text":
      if (typeof body !== "string") {
        throw new TypeError(`Content Type "text" requires a value of type string, but received: ${typeof body}`);
      }
      return body;
    case "bytes":
      if (!ArrayBufferIsView(body)) {
        throw new TypeError(
          `Content Type "bytes" requires a value of type ArrayBufferView, but received: ${typeof body}`,
        );
      }
      return copyBytes(bytesOf(body));
    default:
      return core.serialize(body, STORED, refuseToClone);
  }
}

// What is shared between threads cannot be stored.
const STORED = { __proto__: null, forStorage: true };

function refuseToClone(message: string) {
  throw new DOMException(message, "DataCloneError");
}

// A whole number of seconds. Absent delays cross as NaN: they leave it to the batch, or to the queue.
function delayOf(options: any): number {
  const given = options?.delaySeconds;
  if (given === undefined) {
    return NaN;
  }
  return toInteger(given);
}

const answer = (backlog: number[]) => ({ metadata: { metrics: metricsOf(backlog) } });

class Queue {
  #queue: number;
  #contentType: ContentType;

  constructor(key: symbol, queue: number, contentType: ContentType) {
    if (key !== construct) {
      throw new TypeError("Illegal constructor");
    }
    this.#queue = queue;
    this.#contentType = contentType;
  }

  async send(body: unknown, options?: { contentType?: string; delaySeconds?: number }) {
    requireArgument(arguments.length, 1, SEND, "JsValue");
    checkOptions(options, 2, SEND, "SendOptions");
    const contentType = contentTypeOf(options?.contentType, this.#contentType);
    const message = [CONTENT_TYPES[contentType], serialize(body, contentType), delayOf(options)];
    return answer(await op_queue_send(this.#queue, message));
  }

  async sendBatch(messages: any, options?: { delaySeconds?: number }) {
    if (!isObject(messages) || typeof messages[SymbolIterator] !== "function") {
      throw refused(1, SEND_BATCH, "Sequence");
    }
    checkOptions(options, 2, SEND_BATCH, "SendBatchOptions");
    const flat: unknown[] = [];
    for (const message of messages) {
      if (!isObject(message)) {
        throw new TypeError("Incorrect type: the provided value is not of type 'MessageSendRequest'.");
      }
      const contentType = contentTypeOf(message.contentType, this.#contentType);
      ArrayPrototypePush(flat, CONTENT_TYPES[contentType], serialize(message.body, contentType), delayOf(message));
    }
    if (flat.length === 0) {
      throw new TypeError("sendBatch() requires at least one message");
    }
    return answer(await op_queue_send_batch(this.#queue, flat, delayOf(options)));
  }

  async metrics() {
    return metricsOf(await op_queue_metrics(this.#queue));
  }
}

ObjectDefineProperty(Queue.prototype, SymbolToStringTag, {
  __proto__: null,
  value: "Queue",
  configurable: true,
});

const createQueue = (index: number) => new Queue(construct, index, "json");
// For workers whose compatibility date is before 2024-03-18.
const createQueueOfClones = (index: number) => new Queue(construct, index, "v8");

refuseClones(Queue);

return { createQueue, createQueueOfClones };
})();
