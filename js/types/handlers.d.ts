// The default export of a worker's main module, and what its handlers are given.

/**
 * The shape of a worker's default export: `export default { ... } satisfies ExportedHandler<Env>`.
 *
 * `Env` is what the worker expects on `env`; `QueueBody` is the body of the messages it consumes.
 */
interface ExportedHandler<Env = unknown, QueueBody = unknown> {
  /** Answers an HTTP request. */
  fetch?(request: Request, env: Env, ctx: ExecutionContext): Response | Promise<Response>;
  /** Runs at the times that `[triggers] crons` names, in UTC. */
  scheduled?(event: ScheduledController, env: Env, ctx: ExecutionContext): void | Promise<void>;
  /** Takes a batch of messages from a queue. */
  queue?(batch: MessageBatch<QueueBody>, env: Env, ctx: ExecutionContext): void | Promise<void>;
}

/** What a handler can ask of the runtime while it handles one event. */
interface ExecutionContext {
  /**
   * Keeps the event alive until `promise` settles: the answer leaves first, the work goes on. A rejection is logged; one of a
   * `scheduled` or `queue` handler's work fails the event.
   */
  waitUntil(promise: Promise<unknown>): void;
  /** Leaves an uncaught exception of this request to whatever stands before the worker, instead of answering 500. */
  passThroughOnException(): void;
}

/** One firing of a cron schedule. */
interface ScheduledController {
  readonly type: "scheduled";
  /** The time it was due, in milliseconds since the epoch. */
  readonly scheduledTime: number;
  /** The schedule as the configuration spells it, character for character. */
  readonly cron: string;
  /** Keeps a failed run from being tried again. */
  noRetry(): void;
}

/** The older name of `ScheduledController`. */
interface ScheduledEvent extends ScheduledController {}

/** The producer's end of a queue: `env.QUEUE`. */
interface Queue<Body = unknown> {
  /** Puts one message into the queue. Settles once it is stored. */
  send(body: Body, options?: QueueSendOptions): Promise<QueueSendResponse>;
  /** Puts 1 to 100 messages into the queue: all of them or none. */
  sendBatch(messages: Iterable<MessageSendRequest<Body>>, options?: QueueSendBatchOptions): Promise<QueueSendResponse>;
  /** What waits in the queue. */
  metrics(): Promise<QueueMetrics>;
}

/** What `send` and `sendBatch` resolve to. */
interface QueueSendResponse {
  /** The queue with the messages just sent. */
  readonly metadata: { readonly metrics: QueueMetrics };
}

/** What waits in a queue, delayed messages and those that a handler has included. */
interface QueueMetrics {
  readonly backlogCount: number;
  /** The bodies as they are stored. */
  readonly backlogBytes: number;
  /** Absent when nothing waits. */
  readonly oldestMessageTimestamp?: Date;
}

/** How a message's body is stored; `json` where nothing is said. */
type QueueContentType = "json" | "text" | "bytes" | "v8";

interface QueueSendOptions {
  contentType?: QueueContentType;
  /** Seconds until the message may be delivered, 0 to 86,400. */
  delaySeconds?: number;
}

interface QueueSendBatchOptions {
  /** Seconds until the messages may be delivered, for those that say nothing themselves. */
  delaySeconds?: number;
}

interface MessageSendRequest<Body = unknown> extends QueueSendOptions {
  body: Body;
}

/** What a `queue` handler is given: some messages of one queue, oldest first. */
interface MessageBatch<Body = unknown> {
  /** The queue's name. */
  readonly queue: string;
  readonly messages: readonly Message<Body>[];
  /** The queue when the batch was taken from it. */
  readonly metadata: { readonly metrics: QueueMetrics };
  /** Marks every message that was not settled by itself as done. */
  ackAll(): void;
  /** Asks for every message that was not settled by itself to be delivered again. */
  retryAll(options?: QueueRetryOptions): void;
}

/**
 * One message. Of `ack` and `retry` the first call counts. A message that got neither counts as done when the handler
 * returns, and is delivered again when it throws.
 */
interface Message<Body = unknown> {
  readonly id: string;
  /** When it was sent. */
  readonly timestamp: Date;
  readonly body: Body;
  /** Which delivery this is: 1 for the first. */
  readonly attempts: number;
  ack(): void;
  retry(options?: QueueRetryOptions): void;
}

interface QueueRetryOptions {
  /** Seconds until the next delivery. */
  delaySeconds?: number;
}
