// The globals of a worker, set up once while the startup snapshot is baked, and `start`, run once in each isolate.
// Nothing here runs per request.

import { core, internals, primordials } from "ext:core/mod.js";

const {
  FunctionPrototype,
  ObjectDefineProperty,
  ObjectSetPrototypeOf,
  Promise,
  Symbol,
  SymbolToStringTag,
  TypeError,
  uncurryThis,
} = primordials;

// What deno_fetch and deno_crypto would otherwise take from deno_telemetry and deno_node (embedding notes, section 1.5). The
// telemetry is put in its place below: it needs the console's file, which needs what is here.
internals.kKeyObject = Symbol("kKeyObject");

// deno_core's stubs of asynchronous ops say `op.call(...)`: whoever replaced `call` would be handed the op itself. A function may
// have a `call` of its own; that of all functions stays.
const { call } = FunctionPrototype;
ObjectDefineProperty(FunctionPrototype, "call", {
  __proto__: null,
  get() {
    return call;
  },
  set(value: unknown) {
    if (this === FunctionPrototype) {
      throw new TypeError("Function.prototype.call cannot be replaced");
    }
    ObjectDefineProperty(this, "call", { __proto__: null, value, configurable: true, enumerable: true, writable: true });
  },
  configurable: false,
  enumerable: false,
});

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const event = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException, QuotaExceededError } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const url = core.loadExtScript("ext:deno_web/00_url.js");
const timers = core.loadExtScript("ext:deno_web/02_timers.js");
const abort = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const base64 = core.loadExtScript("ext:deno_web/05_base64.js");
const streams = core.loadExtScript("ext:deno_web/06_streams.js");
// Changes what it finds in deno_web and deno_fetch, before others take it.
core.loadExtScript("ext:aerostack/platform/body_streams.ts");
const encoding = core.loadExtScript("ext:deno_web/08_text_encoding.js");
const file = core.loadExtScript("ext:deno_web/09_file.js");
const messages = core.loadExtScript("ext:deno_web/13_message_port.js");
const performance = core.loadExtScript("ext:deno_web/15_performance.js");
const { WorkerGlobalScope } = core.loadExtScript("ext:deno_web/04_global_interfaces.js");
const headers = core.loadExtScript("ext:deno_fetch/20_headers.js");
const formData = core.loadExtScript("ext:deno_fetch/21_formdata.js");
const identity = core.loadExtScript("ext:aerostack/platform/identity_streams.ts");
const request = core.loadExtScript("ext:deno_fetch/23_request.js");
const { Response } = core.loadExtScript("ext:aerostack/platform/responses.ts");
const { telemetry, telemetryUtil } = core.loadExtScript("ext:aerostack/platform/fetch_spans.ts");
const { console, formatThrown, reportUncaught } = core.loadExtScript("ext:aerostack/platform/console.ts");
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");
core.loadExtScript("ext:aerostack/platform/web_corrections.ts");
const { createHandlers, ExecutionContext } = core.loadExtScript("ext:aerostack/platform/handlers.ts");

internals.__telemetry = telemetry;
internals.__telemetryUtil = telemetryUtil;

// Not in every worker: compiled at their first use, outside the snapshot, which every isolate pays for.
const lazy = (specifier: string) => () => core.loadExtScript(specifier);
const lazyUncloneable = (specifier: string, ...names: string[]) => {
  let loaded: any;
  return () => {
    if (loaded === undefined) {
      loaded = core.loadExtScript(specifier);
      for (let i = 0; i < names.length; i++) {
        refuseClones(loaded[names[i]]);
      }
    }
    return loaded;
  };
};
const urlPattern = lazyUncloneable("ext:deno_web/01_urlpattern.js", "URLPattern");
const fileReader = lazy("ext:deno_web/10_filereader.js");
const compression = lazy("ext:aerostack/platform/compression_streams.ts");
const eventSource = lazy("ext:deno_fetch/27_eventsource.js");
const fetching = lazy("ext:deno_fetch/26_fetch.js");
const crypto = lazy("ext:aerostack/platform/crypto.ts");

// A plain function, as users and mocks expect; the standard gives it one required parameter.
function fetch(input: RequestInfo, init: RequestInit | undefined = undefined) {
  return fetching().fetch(input, init);
}

for (
  const name of [
    "NotFound", "ConnectionRefused", "ConnectionReset", "ConnectionAborted", "NotConnected", "AddrInUse",
    "AddrNotAvailable", "BrokenPipe", "PermissionDenied", "AlreadyExists", "InvalidData", "TimedOut", "WouldBlock",
    "WriteZero", "UnexpectedEof", "Http", "Busy", "NotSupported", "NetworkUnreachable",
  ]
) {
  core.registerErrorClass(
    name,
    {
      [name]: class extends Error {
        constructor(message: string) {
          super(message);
          this.name = name;
        }
      },
    }[name],
  );
}

for (
  const name of [
    "OperationError", "NotSupportedError", "NetworkError", "AbortError", "InvalidCharacterError", "DataError",
    "InvalidStateError", "SyntaxError", "IndexSizeError", "TypeMismatchError", "InvalidAccessError", "DataCloneError",
  ]
) {
  core.registerErrorBuilder(`DOMException${name}`, (message: string) => new DOMException(message, name));
}
core.registerErrorBuilder("DOMExceptionQuotaExceededError", (message: string) => new QuotaExceededError(message));

class Navigator {
  get userAgent() {
    return "Cloudflare-Workers";
  }
  get language() {
    return "en";
  }
  get languages() {
    return ["en"];
  }
  get hardwareConcurrency() {
    return 1;
  }
  get [SymbolToStringTag]() {
    return "Navigator";
  }
}

// As plain functions: called on another object they refuse.
const { setTimeout, clearTimeout } = timers;

// Taken before user code can put others in their place.
const addEventListener = uncurryThis(event.EventTarget.prototype.addEventListener);
const ONCE = { __proto__: null, once: true };

class Scheduler {
  // https://developers.cloudflare.com/workers/runtime-apis/scheduler/
  wait(delay: number, options: { signal?: AbortSignal } | undefined = undefined) {
    const signal = options?.signal;
    return new Promise((resolve: () => void, reject: (reason: unknown) => void) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const timer = setTimeout(resolve, delay);
      if (signal !== undefined && signal !== null) {
        const stop = () => {
          clearTimeout(timer);
          reject(signal.reason);
        };
        addEventListener(signal, "abort", stop, ONCE);
      }
    });
  }
  get [SymbolToStringTag]() {
    return "Scheduler";
  }
}

const hidden = core.propNonEnumerable;
const visible = core.propWritable;
const hiddenLazy = core.propNonEnumerableLazyLoaded;

core.defineGlobalProperties(globalThis, {
  AbortController: hidden(abort.AbortController),
  AbortSignal: hidden(abort.AbortSignal),
  Blob: hidden(file.Blob),
  ByteLengthQueuingStrategy: hidden(streams.ByteLengthQueuingStrategy),
  CloseEvent: hidden(event.CloseEvent),
  CompressionStream: hiddenLazy((m: any) => m.CompressionStream, compression),
  CountQueuingStrategy: hidden(streams.CountQueuingStrategy),
  Crypto: hiddenLazy((m: any) => m.Crypto, crypto),
  CryptoKey: hiddenLazy((m: any) => m.CryptoKey, crypto),
  CustomEvent: hidden(event.CustomEvent),
  DOMException: hidden(DOMException),
  DecompressionStream: hiddenLazy((m: any) => m.DecompressionStream, compression),
  ErrorEvent: hidden(event.ErrorEvent),
  Event: hidden(event.Event),
  EventSource: hiddenLazy((m: any) => m.EventSource, eventSource),
  EventTarget: hidden(event.EventTarget),
  File: hidden(file.File),
  FileReader: hiddenLazy((m: any) => m.FileReader, fileReader),
  FixedLengthStream: hidden(identity.FixedLengthStream),
  FormData: hidden(formData.FormData),
  Headers: hidden(headers.Headers),
  IdentityTransformStream: hidden(identity.IdentityTransformStream),
  MessageChannel: hidden(messages.MessageChannel),
  MessageEvent: hidden(event.MessageEvent),
  MessagePort: hidden(messages.MessagePort),
  Navigator: hidden(Navigator),
  Performance: hidden(performance.Performance),
  PerformanceEntry: hidden(performance.PerformanceEntry),
  PerformanceMark: hidden(performance.PerformanceMark),
  PerformanceMeasure: hidden(performance.PerformanceMeasure),
  ProgressEvent: hidden(event.ProgressEvent),
  PromiseRejectionEvent: hidden(event.PromiseRejectionEvent),
  QuotaExceededError: hidden(QuotaExceededError),
  ReadableByteStreamController: hidden(streams.ReadableByteStreamController),
  ReadableStream: hidden(streams.ReadableStream),
  ReadableStreamBYOBReader: hidden(streams.ReadableStreamBYOBReader),
  ReadableStreamBYOBRequest: hidden(streams.ReadableStreamBYOBRequest),
  ReadableStreamDefaultController: hidden(streams.ReadableStreamDefaultController),
  ReadableStreamDefaultReader: hidden(streams.ReadableStreamDefaultReader),
  Request: hidden(request.Request),
  Response: hidden(Response),
  SubtleCrypto: hiddenLazy((m: any) => m.SubtleCrypto, crypto),
  TextDecoder: hidden(encoding.TextDecoder),
  TextDecoderStream: hidden(encoding.TextDecoderStream),
  TextEncoder: hidden(encoding.TextEncoder),
  TextEncoderStream: hidden(encoding.TextEncoderStream),
  TransformStream: hidden(streams.TransformStream),
  TransformStreamDefaultController: hidden(streams.TransformStreamDefaultController),
  URL: hidden(url.URL),
  URLPattern: hiddenLazy((m: any) => m.URLPattern, urlPattern),
  URLSearchParams: hidden(url.URLSearchParams),
  WorkerGlobalScope: hidden(WorkerGlobalScope),
  WritableStream: hidden(streams.WritableStream),
  WritableStreamDefaultController: hidden(streams.WritableStreamDefaultController),
  WritableStreamDefaultWriter: hidden(streams.WritableStreamDefaultWriter),
  atob: visible(base64.atob),
  btoa: visible(base64.btoa),
  clearInterval: visible(timers.clearInterval),
  clearTimeout: visible(timers.clearTimeout),
  console: hidden(console),
  crypto: core.propGetterOnly(() => crypto().crypto),
  fetch: visible(fetch),
  navigator: visible(new Navigator()),
  performance: visible(performance.performance),
  reportError: visible(event.reportError),
  scheduler: visible(new Scheduler()),
  self: visible(globalThis),
  setInterval: visible(timers.setInterval),
  setTimeout: visible(timers.setTimeout),
  structuredClone: visible(messages.structuredClone),
  [webidl.brand]: hidden(webidl.brand),
});

// A left-over of the engine's: nobody calls it, and every event target has it, the global object included.
delete event.EventTarget.prototype.getParent;

refuseClones(
  abort.AbortController,
  encoding.TextDecoder,
  encoding.TextDecoderStream,
  encoding.TextEncoder,
  encoding.TextEncoderStream,
  event.Event,
  event.EventTarget,
  ExecutionContext,
  formData.FormData,
  headers.Headers,
  messages.MessageChannel,
  Navigator,
  performance.PerformanceEntry,
  request.Request,
  Response,
  Scheduler,
  streams.ByteLengthQueuingStrategy,
  streams.CountQueuingStrategy,
  streams.ReadableByteStreamController,
  streams.ReadableStreamBYOBReader,
  streams.ReadableStreamBYOBRequest,
  streams.ReadableStreamDefaultController,
  streams.ReadableStreamDefaultReader,
  streams.TransformStreamDefaultController,
  streams.WritableStreamDefaultController,
  streams.WritableStreamDefaultWriter,
  url.URL,
  url.URLSearchParams,
);

ObjectSetPrototypeOf(globalThis, WorkerGlobalScope.prototype);
event.saveGlobalThisReference(globalThis);
event.setEventTargetData(globalThis);

const dispatchEvent = uncurryThis(event.EventTarget.prototype.dispatchEvent);

// Whether no listener prevented what is done by default.
function dispatchRejection(type: string, promise: Promise<unknown>, reason: unknown, cancelable: boolean): boolean {
  const rejection = new event.PromiseRejectionEvent(type, { __proto__: null, cancelable, promise, reason });
  event.setIsTrusted?.(rejection, true);
  return dispatchEvent(globalThis, rejection);
}

// Run once in each isolate, before any user code. Returns what the runtime calls.
function start() {
  core.setWasmStreamingCallback((source: unknown, rid: number) => fetching().handleWasmStreaming(source, rid));
  core.setReportExceptionCallback(event.reportException);
  core.ops.op_set_format_exception_callback(formatThrown);
  core.setUnhandledPromiseRejectionHandler((promise: Promise<unknown>, reason: unknown) => {
    if (dispatchRejection("unhandledrejection", promise, reason, true)) {
      reportUncaught(reason, true);
    }
    return true;
  });
  core.setHandledPromiseRejectionHandler((promise: Promise<unknown>, reason: unknown) => {
    dispatchRejection("rejectionhandled", promise, reason, false);
  });
  performance.setTimeOrigin();

  const handlers = createHandlers();
  const global: Record<string, unknown> = globalThis;
  delete global.Deno;
  delete global.__bootstrap;
  delete global.bootstrap;
  return handlers;
}

ObjectDefineProperty(globalThis, "bootstrap", { value: start, configurable: true, enumerable: false });
