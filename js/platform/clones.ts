// Which objects of the platform `structuredClone`, message ports and queues refuse. To V8 they are plain objects without properties,
// and would arrive as `{}`.

(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, String, SymbolToStringTag } = primordials;
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");

// deno_core calls what it finds under `hostObjectBrand` of an object, however deep it lies, instead of writing its properties.
function refuse(this: any) {
  const type = String(this[SymbolToStringTag] ?? this.constructor?.name);
  throw new DOMException(
    `Could not serialize object of type "${type}". This type does not support serialization.`,
    "DataCloneError",
  );
}

// What they may not be copied, they may not be moved either.
const { getTransferableResource } = core;
const UNMOVABLE = {
  __proto__: null,
  send() {
    throw new DOMException("Value not transferable", "DataCloneError");
  },
};
core.getTransferableResource = (brand: unknown) => brand === refuse ? UNMOVABLE : getTransferableResource(brand);

// Has the instances of these classes refused, and those of classes that extend them.
function refuseClones(...classes: { prototype: object }[]) {
  for (let i = 0; i < classes.length; i++) {
    ObjectDefineProperty(classes[i].prototype, core.hostObjectBrand, { __proto__: null, value: refuse, writable: true });
  }
}

return { refuseClone: refuse, refuseClones };
})();
