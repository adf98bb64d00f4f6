// `Response` and `Request` as Workers have them: deno_fetch's own, made by constructors that check a status and a method as Workers
// do and take `encodeBody`.

(function () {
const { core, primordials } = __bootstrap;
const {
  ArrayPrototypeIncludes,
  ObjectDefineProperties,
  ObjectDefineProperty,
  RangeError,
  ReflectConstruct,
  RegExpPrototypeExec,
  StringPrototypeToUpperCase,
  Symbol,
  TypeError,
  TypedArrayPrototypeGetByteLength,
  uncurryThis,
} = primordials;

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { HTTP_TOKEN_CODE_POINT_RE } = core.loadExtScript("ext:deno_web/00_infra.js");
const responses = core.loadExtScript("ext:deno_fetch/23_response.js");
core.loadExtScript("ext:deno_fetch/23_request.js");
const { bytesOf } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { Response: Inner, fromInnerResponse, nullBodyStatus } = responses;
const { json: innerJson } = Inner;
const cloneOf = uncurryThis(Inner.prototype.clone);
const toStatus = webidl.converters["unsigned short"];
const toRequestInit = webidl.converters["RequestInit"];

// On responses whose body is encoded already, as their `content-encoding` says.
const encodedByHand = Symbol("encoded by hand");

function isEncodedByHand(response: any): boolean {
  return response[encodedByHand] === true;
}

function noteEncodedByHand(response: any) {
  ObjectDefineProperty(response, encodedByHand, { __proto__: null, value: true, enumerable: false });
}

// Text or bytes of no length.
function isEmpty(body: any): boolean {
  return body === "" || (typeof body === "object" && body !== null && isEmptyBuffer(body));
}

function isEmptyBuffer(body: object): boolean {
  const bytes = bytesOf(body);
  return bytes !== undefined && TypedArrayPrototypeGetByteLength(bytes) === 0;
}

// Reads the options of a response once, and checks what deno_fetch does not.
function readInit(init: any) {
  if (typeof init !== "object" && typeof init !== "function") {
    throw new TypeError("The options of a Response must be an object.");
  }
  const { status: given, statusText, headers, encodeBody } = init;
  // Nearly every status is one already.
  const status = given === undefined ? 200 : (given | 0) === given ? given : toStatus(given);
  if (status < 200 || status > 599) {
    throw new RangeError("Responses may only be constructed with status codes in the range 200 to 599, inclusive.");
  }
  if (encodeBody !== undefined && encodeBody !== "automatic" && encodeBody !== "manual") {
    throw new TypeError(`encodeBody: unexpected value: ${encodeBody}`);
  }
  const isByHand = encodeBody === "manual" || (encodeBody === undefined && isEncodedByHand(init));
  // With a prototype: V8 makes a slow object of one that has none, and what deno_fetch reads of this is its own.
  return { status, statusText, headers, isByHand };
}

function refuseBody(status: number) {
  if (nullBodyStatus(status)) {
    throw new TypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.");
  }
}

function Response(this: unknown, body: unknown = null, init: any = undefined) {
  if (new.target === undefined) {
    throw new TypeError("Failed to construct 'Response': Please use the 'new' operator, this object constructor cannot be called as a function.");
  }
  if (init === undefined || init === null) {
    return new.target === Response ? new Inner(body) : ReflectConstruct(Inner, [body], new.target);
  }
  const read = readInit(init);
  if (body !== null && body !== undefined && nullBodyStatus(read.status)) {
    if (!isEmpty(body)) {
      refuseBody(read.status);
    }
    body = null;
  }
  const response = new.target === Response
    ? new Inner(body, read)
    : ReflectConstruct(Inner, [body, read], new.target);
  if (read.isByHand) {
    noteEncodedByHand(response);
  }
  return response;
}

const members = {
  json(data: unknown, init: any = undefined) {
    if (init === undefined || init === null) {
      return innerJson(data);
    }
    const read = readInit(init);
    refuseBody(read.status);
    const response = innerJson(data, read);
    if (read.isByHand) {
      noteEncodedByHand(response);
    }
    return response;
  },
  clone(this: unknown) {
    const clone = cloneOf(this);
    if (isEncodedByHand(this)) {
      noteEncodedByHand(clone);
    }
    return clone;
  },
};

const enumerable = (value: unknown) => ({ __proto__: null, value, configurable: true, enumerable: true, writable: true });

ObjectDefineProperty(Response, "length", { __proto__: null, value: 0, configurable: true });
ObjectDefineProperty(Response, "prototype", { __proto__: null, value: Inner.prototype, writable: false });
ObjectDefineProperties(Response, {
  __proto__: null,
  error: enumerable(Inner.error),
  json: enumerable(members.json),
  redirect: enumerable(Inner.redirect),
});
ObjectDefineProperty(Inner.prototype, "constructor", {
  __proto__: null,
  value: Response,
  configurable: true,
  enumerable: false,
  writable: true,
});
ObjectDefineProperty(Inner.prototype, "clone", enumerable(members.clone));

// What runtime/platform/src/fetched.rs adds to the status of an answer that looks like a redirect and is none.
const NO_REDIRECT = 10_000;

responses.fromInnerResponse = (inner: { status: number }, guard: string) => {
  if (inner.status > NO_REDIRECT) {
    inner.status -= NO_REDIRECT;
  }
  return fromInnerResponse(inner, guard);
};

// What a body is made of piece by piece may give text, too.
const toSequence = webidl.createAsyncSequenceConverter(webidl.converters.any);

webidl.converters["async_sequence<Uint8Array>"] = (value: unknown, prefix: string, context: string, options: unknown) => {
  const sequence = toSequence(value, prefix, context, options);
  const { open } = sequence;
  sequence.open = (openContext: string | undefined = context) => {
    const iterator = open(openContext);
    const { return: close } = iterator;
    // The stream that is made of this iterator wants an object of it, as of any.
    iterator.return = async (reason: unknown) => {
      await close(reason);
      return { done: true, value: undefined };
    };
    return iterator;
  };
  return sequence;
};

// The methods that Workers know, in whatever case. deno_fetch itself changes the case of some, takes any other as it is, and refuses
// TRACE.
const METHODS = [
  "ACL", "BAN", "CHECKOUT", "COPY", "DELETE", "GET", "HEAD", "LOCK", "MERGE", "MKACTIVITY", "MKCOL", "MOVE", "MSEARCH", "NOTIFY",
  "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY", "REPORT", "SEARCH", "SUBSCRIBE", "UNLOCK", "UNSUBSCRIBE",
];

webidl.converters["RequestInit"] = (value: unknown, prefix: string, context: string, options: unknown) => {
  const init = toRequestInit(value, prefix, context, options);
  if (init.method !== undefined) {
    const method = StringPrototypeToUpperCase(init.method);
    if (ArrayPrototypeIncludes(METHODS, method)) {
      init.method = method;
    } else if (
      method === "CONNECT" || method === "TRACK" || RegExpPrototypeExec(HTTP_TOKEN_CODE_POINT_RE, method) === null
    ) {
      throw new TypeError(`Invalid HTTP method string: ${init.method}`);
    }
  }
  return init;
};

return { Response, isEncodedByHand };
})();
