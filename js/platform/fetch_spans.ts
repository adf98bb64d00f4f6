// Outbound requests in traces. deno_fetch tells a tracer of each `fetch` and lets it add headers before the request leaves; this is
// that tracer. The request that is sent is a copy of the caller's: the caller's own objects are not touched.

(function () {
const { core, primordials } = __bootstrap;
const { op_fetch_span_begin, op_fetch_span_end } = core.ops;
const { ObjectPrototypeIsPrototypeOf, StringPrototypeIndexOf, StringPrototypeSlice, Symbol, TypeErrorPrototype } = primordials;
const { toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { toInnerResponse } = core.loadExtScript("ext:deno_fetch/23_response.js");
const { currentInvocation } = core.loadExtScript("ext:aerostack/platform/console.ts");

// What stands for "nothing to go back to" where no span was entered.
const DID_NOT_ENTER = Symbol("did not enter a span");

// One `fetch`.
class FetchSpan {
  // The value of `traceparent`, and on a second line that of `tracestate` if there is one. Empty outside a handler.
  headers = op_fetch_span_begin(currentInvocation());
  method = "";
  url = "";
  status = 0;
  failure = "";

  end() {
    if (this.headers !== "") {
      op_fetch_span_end(this.headers, this.method, this.url, this.status, this.failure);
    }
  }
}

// The span of the `fetch` that is being called. A getter of the caller's options may call `fetch` again, so it is put back.
let entered: FetchSpan | undefined;

const telemetry = {
  TRACING_ENABLED: true,
  DID_NOT_ENTER,
  builtinTracer: () => ({ startSpan: () => new FetchSpan() }),
  ContextManager: { active: () => entered },
  PROPAGATORS: [{
    // A caller that sets its own `traceparent` knows better.
    inject(span: FetchSpan | undefined, headers: Headers, setter: { set: (carrier: Headers, key: string, value: string) => void }) {
      if (span === undefined || span.headers === "" || headers.has("traceparent")) {
        return;
      }
      const end = StringPrototypeIndexOf(span.headers, "\n");
      setter.set(headers, "traceparent", end < 0 ? span.headers : StringPrototypeSlice(span.headers, 0, end));
      if (end >= 0 && !headers.has("tracestate")) {
        setter.set(headers, "tracestate", StringPrototypeSlice(span.headers, end + 1));
      }
    },
  }],
  enterSpan(span: FetchSpan) {
    const before = entered;
    entered = span;
    return before;
  },
  exitSpan(before: FetchSpan | undefined | typeof DID_NOT_ENTER) {
    if (before !== DID_NOT_ENTER) {
      entered = before;
    }
  },
};

const telemetryUtil = {
  updateSpanFromRequest(span: FetchSpan, request: Request) {
    // Not through the getters of the prototypes, which belong to user code.
    const inner = toInnerRequest(request);
    span.method = inner.method;
    span.url = inner.url();
  },
  updateSpanFromClientResponse(span: FetchSpan, response: Response) {
    span.status = toInnerResponse(response).status;
  },
  updateSpanFromError(span: FetchSpan, error: unknown) {
    // Where the network fails it is a TypeError; else a signal ended it, with whatever reason.
    span.failure = ObjectPrototypeIsPrototypeOf(TypeErrorPrototype, error) ? "failed" : "aborted";
  },
};

return { telemetry, telemetryUtil };
})();
