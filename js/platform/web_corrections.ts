// Where deno_web is not what the standards and Workers are: listeners that are none, the `close` event of message ports, the origin of
// `blob:` URLs.

(function () {
const { core, primordials } = __bootstrap;
const {
  FunctionPrototypeApply,
  FunctionPrototypeCall,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  StringPrototypeStartsWith,
  TypeError,
  uncurryThis,
} = primordials;

const event = core.loadExtScript("ext:deno_web/02_event.js");
const messages = core.loadExtScript("ext:deno_web/13_message_port.js");

const { nodeWorkerThreadCloseCb, refMessagePort } = messages;
const MessagePortPrototype = messages.MessagePort.prototype;
const prototype = event.EventTarget.prototype;
const { addEventListener, removeEventListener } = prototype;

// What deno_web takes for a listener; anything that is neither nothing nor an object would be kept, and fail when it is called.
function listenerOf(value: unknown, refusal: string): unknown {
  if (value === null || value === undefined) {
    return null;
  }
  if (typeof value !== "function" && typeof value !== "object") {
    throw new TypeError(refusal);
  }
  return value;
}

const methods = {
  addEventListener(type: unknown, callback: unknown, options: unknown = undefined) {
    if (arguments.length < 2) {
      return FunctionPrototypeApply(addEventListener, this, arguments);
    }
    const listener = listenerOf(
      callback,
      "Failed to execute 'addEventListener' on 'EventTarget': parameter 2 is not of type 'function or HandlerObject'.",
    );
    FunctionPrototypeCall(addEventListener, this, type, listener, options);
    if (type === "close" && ObjectPrototypeIsPrototypeOf(MessagePortPrototype, this)) {
      keepWaiting(this);
    }
  },

  removeEventListener(type: unknown, callback: unknown, options: unknown = undefined) {
    if (arguments.length < 2) {
      return FunctionPrototypeApply(removeEventListener, this, arguments);
    }
    const listener = listenerOf(
      callback,
      "Failed to execute 'removeEventListener' on 'EventTarget': parameter 2 is not of type 'Object'.",
    );
    FunctionPrototypeCall(removeEventListener, this, type, listener, options);
  },
};

const replaced = ["addEventListener", "removeEventListener"] as const;
for (let i = 0; i < replaced.length; i++) {
  const name = replaced[i];
  const descriptor = ObjectGetOwnPropertyDescriptor(prototype, name);
  ObjectDefineProperty(prototype, name, { __proto__: null, ...descriptor, value: methods[name] });
}

// A port that somebody awaits the end of is work that goes on.
function keepWaiting(port: any) {
  port[refMessagePort](true);
}

async function tellOfEnd(port: unknown) {
  // Not within the call that closed it.
  await null;
  const closed = new event.Event("close");
  event.setIsTrusted(closed, true);
  dispatchEvent(port, closed);
}

const dispatchEvent = uncurryThis(prototype.dispatchEvent);

// deno_web calls this when a port was closed, or a started one sees that the other side was; it fires no event itself.
ObjectDefineProperty(MessagePortPrototype, nodeWorkerThreadCloseCb, {
  __proto__: null,
  value(this: any) {
    tellOfEnd(this);
  },
  writable: true,
});
event.defineEventHandler(MessagePortPrototype, "close", keepWaiting);

// deno_web takes the origin of any URL in a `blob:` URL for that of both.
const URLPrototype = core.loadExtScript("ext:deno_web/00_url.js").URL.prototype;
const ofUrl = (name: string) => uncurryThis(ObjectGetOwnPropertyDescriptor(URLPrototype, name).get);
const originOf = ofUrl("origin");
const hrefOf = ofUrl("href");
const corrected = {
  get origin() {
    const origin = originOf(this);
    const href = hrefOf(this);
    const isOpaque = StringPrototypeStartsWith(href, "blob:") &&
      !(StringPrototypeStartsWith(href, "blob:http:") || StringPrototypeStartsWith(href, "blob:https:"));
    return isOpaque ? "null" : origin;
  },
};
ObjectDefineProperty(URLPrototype, "origin", {
  __proto__: null,
  ...ObjectGetOwnPropertyDescriptor(URLPrototype, "origin"),
  get: ObjectGetOwnPropertyDescriptor(corrected, "origin").get,
});
})();
