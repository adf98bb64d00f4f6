// What the `scheduled` and `queue` handlers are given (Cloudflare contract, sections 3.2 and 7).
//
// The precedence of ack and retry is decided here; what was decided is written down on the Rust side at once, so that it
// outlives whatever happens to the isolate.

(function () {
const { core, primordials } = __bootstrap;
const {
  op_console_print,
  op_event_ack,
  op_event_backlog,
  op_event_messages,
  op_event_no_retry,
  op_event_retry,
} = core.ops;
const {
  ArrayPrototypePush,
  Date,
  JSONParse,
  Number,
  NumberIsInteger,
  ObjectDefineProperty,
  RangeError,
  SymbolToStringTag,
  TypeError,
} = primordials;

const LONGEST_DELAY_SECONDS = 86400;
const WARN = 2;
// How the ops name "every message that is undecided", and "no delay of its own".
const ALL_UNDECIDED = -1;
const NO_DELAY = -1;

const UNDECIDED = 0;
const ACKED = 1;
const RETRIED = 2;

class ScheduledController {
  type = "scheduled";
  scheduledTime: number;
  cron: string;
  #invocation: number;

  constructor(invocation: number, cron: string, scheduledTime: number) {
    this.scheduledTime = scheduledTime;
    this.cron = cron;
    this.#invocation = invocation;
  }

  noRetry() {
    op_event_no_retry(this.#invocation);
  }
}

// What the calls on a batch and its messages have said so far.
interface Calls {
  invocation: number;
  ackedAll: boolean;
  retriedAll: boolean;
}

class Message {
  id: string;
  timestamp: Date;
  body: unknown;
  attempts: number;
  #calls: Calls;
  #place: number;
  #state = UNDECIDED;
  #hasOwnDelay = false;

  constructor(calls: Calls, place: number, id: string, timestamp: number, attempts: number, body: unknown) {
    this.id = id;
    this.timestamp = new Date(timestamp);
    this.body = body;
    this.attempts = attempts;
    this.#calls = calls;
    this.#place = place;
  }

  ack() {
    if (this.#calls.ackedAll) {
      return;
    }
    if (this.#calls.retriedAll) {
      return warnOfMessage(this.#calls, this.id, "ack", "retryAll");
    }
    if (this.#state === RETRIED) {
      return warnOfMessage(this.#calls, this.id, "ack", "retry");
    }
    this.#state = ACKED;
    warnIfLate(this.#calls, op_event_ack(this.#calls.invocation, this.#place), `ack() on message ${this.id}`);
  }

  retry(options?: { delaySeconds?: number }) {
    const delay = delayOf(options);
    if (this.#calls.ackedAll) {
      return warnOfMessage(this.#calls, this.id, "retry", "ackAll");
    }
    if (this.#state === ACKED) {
      return warnOfMessage(this.#calls, this.id, "retry", "ack");
    }
    // A later call without a delay takes none away.
    if (delay === NO_DELAY && (this.#state === RETRIED || this.#calls.retriedAll)) {
      return;
    }
    this.#state = RETRIED;
    this.#hasOwnDelay = delay !== NO_DELAY;
    const noted = op_event_retry(this.#calls.invocation, this.#place, delay);
    warnIfLate(this.#calls, noted, `retry() on message ${this.id}`);
  }

  // The batch's delay is for messages that have none of their own.
  static takeDelayOfBatch(message: Message, delay: number) {
    if (message.#state === RETRIED && !message.#hasOwnDelay) {
      op_event_retry(message.#calls.invocation, message.#place, delay);
    }
  }
}
const takeDelayOfBatch = Message.takeDelayOfBatch;
delete (Message as any).takeDelayOfBatch;

class MessageBatch {
  queue: string;
  messages: Message[] = [];
  metadata: { metrics: unknown };
  #calls: Calls;
  // The user may change `messages`.
  #all: Message[] = [];

  constructor(invocation: number, queue: string) {
    this.queue = queue;
    this.metadata = { metrics: metricsOf(op_event_backlog(invocation)) };
    this.#calls = { invocation, ackedAll: false, retriedAll: false };
    const flat = op_event_messages(invocation);
    for (let i = 0; i < flat.length; i += 5) {
      const body = bodyOf(flat[i], flat[i + 3], flat[i + 4]);
      const message = new Message(this.#calls, i / 5, flat[i], flat[i + 1], flat[i + 2], body);
      ArrayPrototypePush(this.messages, message);
      ArrayPrototypePush(this.#all, message);
    }
  }

  ackAll() {
    if (this.#calls.retriedAll) {
      return warnOfBatch(this.#calls, "ackAll", "retryAll");
    }
    this.#calls.ackedAll = true;
    warnIfLate(this.#calls, op_event_ack(this.#calls.invocation, ALL_UNDECIDED), "ackAll()");
  }

  retryAll(options?: { delaySeconds?: number }) {
    const delay = delayOf(options);
    if (this.#calls.ackedAll) {
      return warnOfBatch(this.#calls, "retryAll", "ackAll");
    }
    this.#calls.retriedAll = true;
    warnIfLate(this.#calls, op_event_retry(this.#calls.invocation, ALL_UNDECIDED, delay), "retryAll()");
    if (delay !== NO_DELAY) {
      for (let i = 0; i < this.#all.length; i++) {
        takeDelayOfBatch(this.#all[i], delay);
      }
    }
  }
}

// As js/bindings/queue.ts clones them.
const STORED = { __proto__: null, forStorage: true };

function bodyOf(id: string, contentType: string, body: any): unknown {
  try {
    switch (contentType) {
      case "json":
        return JSONParse(body);
      case "v8":
        return core.deserialize(body, STORED);
      default:
        return body;
    }
  } catch (error) {
    // Which of the messages is damaged, only this place knows.
    throw new TypeError(`the body of message ${id} cannot be read as ${contentType}: ${(error as Error).message}`, {
      __proto__: null,
      cause: error,
    });
  }
}

// `backlog` is [messages, bytes, time of the oldest or -1], as ops give it.
function metricsOf(backlog: number[]) {
  const { 0: backlogCount, 1: backlogBytes, 2: oldest } = backlog;
  return oldest < 0
    ? { backlogCount, backlogBytes }
    : { backlogCount, backlogBytes, oldestMessageTimestamp: new Date(oldest) };
}

function delayOf(options: { delaySeconds?: number } | undefined | null): number {
  const given = options?.delaySeconds;
  if (given === undefined) {
    return NO_DELAY;
  }
  const delay = Number(given);
  if (!NumberIsInteger(delay) || delay < 0 || delay > LONGEST_DELAY_SECONDS) {
    throw new RangeError(
      `message delay ${given} is invalid: it must be a whole number of seconds from 0 to ${LONGEST_DELAY_SECONDS}`,
    );
  }
  return delay;
}

function warnOfMessage(calls: Calls, id: string, call: string, earlier: string) {
  warn(
    calls,
    `Received a call to ${call}() on message ${id} after ${earlier}() was already called. ` +
      `Calling ${call}() on a message after calling ${earlier}() has no effect.`,
  );
}

function warnOfBatch(calls: Calls, call: string, earlier: string) {
  warn(
    calls,
    `Received a call to ${call}() after ${earlier}() was already called. ` +
      `Calling ${call}() after calling ${earlier}() has no effect.`,
  );
}

function warnIfLate(calls: Calls, noted: boolean, call: string) {
  if (!noted) {
    warn(calls, `Received a call to ${call} after the queue() handler was over. It has no effect.`);
  }
}

function warn(calls: Calls, text: string) {
  op_console_print(calls.invocation, WARN, text);
}

for (const Class of [ScheduledController, Message, MessageBatch]) {
  ObjectDefineProperty(Class.prototype, SymbolToStringTag, {
    __proto__: null,
    value: Class.name,
    configurable: true,
  });
}

return { MessageBatch, ScheduledController, metricsOf };
})();
