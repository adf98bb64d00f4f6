// Reading `multipart/form-data` (RFC 7578). deno_fetch's own parser cuts quoted names at semicolons and equals signs, and takes a form
// that was cut off for a whole one; here the rules and texts are those of Workers.

(function () {
const { core, primordials } = __bootstrap;
const {
  RegExpPrototypeExec,
  StringPrototypeCharAt,
  StringPrototypeIndexOf,
  StringPrototypeSlice,
  StringPrototypeToLowerCase,
  StringPrototypeTrim,
  TypeError,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeIndexOf,
  uncurryThis,
} = primordials;

const forms = core.loadExtScript("ext:deno_fetch/21_formdata.js");
const { File } = core.loadExtScript("ext:deno_web/09_file.js");
const { viewBytes } = core.loadExtScript("ext:aerostack/platform/plain.ts");
const { HTTP_TOKEN_CODE_POINT_RE } = core.loadExtScript("ext:deno_web/00_infra.js");
const append = uncurryThis(forms.FormData.prototype.append);

const CR = 13;
const LF = 10;
const DASH = 45;
const SPACE = 32;
const TAB = 9;
const MOST_HEADER_BYTES = 16 * 1024;

// Where `what` stands in `bytes` at or after `from`, or -1.
function find(bytes: Uint8Array, what: Uint8Array, from: number): number {
  const last = TypedArrayPrototypeGetByteLength(bytes) - TypedArrayPrototypeGetByteLength(what);
  for (let at = from; at <= last; at++) {
    at = TypedArrayPrototypeIndexOf(bytes, what[0], at);
    if (at < 0 || at > last) {
      return -1;
    }
    let matched = 1;
    while (matched < TypedArrayPrototypeGetByteLength(what) && bytes[at + matched] === what[matched]) {
      matched++;
    }
    if (matched === TypedArrayPrototypeGetByteLength(what)) {
      return at;
    }
  }
  return -1;
}

// One pass over a form.
class Form {
  #bytes: Uint8Array;
  #delimiter: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array, boundary: string) {
    this.#bytes = bytes;
    this.#delimiter = core.encode(`--${boundary}`);
  }

  read(): FormData {
    const form = new forms.FormData();
    const first = this.#findDelimiter(0);
    if (first < 0 || first + TypedArrayPrototypeGetByteLength(this.#delimiter) === TypedArrayPrototypeGetByteLength(this.#bytes)) {
      throw new TypeError("No initial boundary string (or you have a truncated message).");
    }
    this.#at = first;
    while (this.#passDelimiter()) {
      this.#readPart(form);
    }
    return form;
  }

  // Where the next delimiter begins that stands at the beginning of a line, or -1.
  #findDelimiter(from: number): number {
    let at = find(this.#bytes, this.#delimiter, from);
    while (at > 0 && this.#bytes[at - 1] !== LF) {
      at = find(this.#bytes, this.#delimiter, at + 1);
    }
    return at;
  }

  // Goes past the delimiter; false where it was the last.
  #passDelimiter(): boolean {
    const bytes = this.#bytes;
    let at = this.#at + TypedArrayPrototypeGetByteLength(this.#delimiter);
    if (bytes[at] === DASH && bytes[at + 1] === DASH) {
      return false;
    }
    while (bytes[at] === SPACE || bytes[at] === TAB) {
      at++;
    }
    if (bytes[at] === CR && bytes[at + 1] === LF) {
      at++;
    }
    if (bytes[at] !== LF) {
      throw new TypeError(
        at >= TypedArrayPrototypeGetByteLength(bytes)
          ? "No subsequent boundary string after multipart message."
          : "Boundary string was not succeeded by CRLF, LF, or '--'.",
      );
    }
    this.#at = at + 1;
    return true;
  }

  #readPart(form: unknown) {
    let disposition: string | undefined;
    let type = "";
    for (let line = this.#readHeader(); line !== ""; line = this.#readHeader()) {
      const colon = StringPrototypeIndexOf(line, ":");
      const name = colon < 0 ? "" : StringPrototypeSlice(line, 0, colon);
      if (RegExpPrototypeExec(HTTP_TOKEN_CODE_POINT_RE, name) === null) {
        throw new TypeError("FormData part had invalid headers.");
      }
      const value = StringPrototypeTrim(StringPrototypeSlice(line, colon + 1));
      switch (StringPrototypeToLowerCase(name)) {
        case "content-disposition":
          disposition = value;
          break;
        case "content-type":
          type = value;
          break;
      }
    }
    if (disposition === undefined) {
      throw new TypeError("No valid Content-Disposition header found in FormData part.");
    }
    const { name, filename } = readDisposition(disposition);
    const begin = this.#at;
    const next = this.#findDelimiter(begin);
    // A part may be empty: its delimiter then follows its headers, and still has its own line.
    if (next < 0) {
      throw new TypeError("No subsequent boundary string after multipart message.");
    }
    const end = next > begin + 1 && this.#bytes[next - 2] === CR ? next - 2 : next - 1;
    const content = viewBytes(this.#bytes, begin, end < begin ? begin : end);
    this.#at = next;
    if (filename === "") {
      append(form, name, core.decode(content));
    } else {
      append(form, name, new File([content], filename, { __proto__: null, type }));
    }
  }

  // The next header, lines it is folded over put together; empty at their end.
  #readHeader(): string {
    let header = this.#readLine();
    while (header !== "" && (this.#bytes[this.#at] === SPACE || this.#bytes[this.#at] === TAB)) {
      header += this.#readLine();
    }
    return header;
  }

  #readLine(): string {
    const bytes = this.#bytes;
    const end = TypedArrayPrototypeIndexOf(bytes, LF, this.#at);
    if (end < 0) {
      throw new TypeError("No multipart message header termination found.");
    }
    if (end - this.#at > MOST_HEADER_BYTES) {
      throw new TypeError("FormData part had invalid headers.");
    }
    const line = viewBytes(bytes, this.#at, bytes[end - 1] === CR && end > this.#at ? end - 1 : end);
    this.#at = end + 1;
    return core.decode(line);
  }
}

// The parameters of a part. An empty file name is as good as none.
function readDisposition(disposition: string): { name: string; filename: string } {
  let at = StringPrototypeIndexOf(disposition, ";");
  const kind = StringPrototypeTrim(at < 0 ? disposition : StringPrototypeSlice(disposition, 0, at));
  if (StringPrototypeToLowerCase(kind) !== "form-data") {
    throw new TypeError(
      `Content-Disposition header for FormData part must have the value "form-data", possibly followed by parameters. Got: "${kind}"`,
    );
  }
  let name = "";
  let filename = "";
  while (at >= 0 && at < disposition.length) {
    const equals = StringPrototypeIndexOf(disposition, "=", at);
    if (equals < 0) {
      break;
    }
    const parameter = StringPrototypeToLowerCase(StringPrototypeTrim(StringPrototypeSlice(disposition, at + 1, equals)));
    const value = readValue(disposition, equals + 1);
    at = value.end;
    if (parameter === "name") {
      name = value.text;
    } else if (parameter === "filename") {
      filename = value.text;
    }
  }
  if (name === "") {
    throw new TypeError("Content-Disposition header in FormData part is missing a name.");
  }
  return { name, filename };
}

// The value of a parameter, and where the semicolon behind it stands. A quoted one goes up to the quote that ends it: browsers send what
// is between as it is, and for a quote %22; others put a backslash before a quote.
function readValue(text: string, from: number): { text: string; end: number } {
  let at = skipSpace(text, from);
  if (StringPrototypeCharAt(text, at) !== '"') {
    const semicolon = StringPrototypeIndexOf(text, ";", at);
    const end = semicolon < 0 ? text.length : semicolon;
    return { text: StringPrototypeTrim(StringPrototypeSlice(text, at, end)), end };
  }
  let value = "";
  for (at++; at < text.length; at++) {
    const character = StringPrototypeCharAt(text, at);
    if (character !== '"') {
      value += character;
      continue;
    }
    const next = skipSpace(text, at + 1);
    const isLast = next >= text.length || StringPrototypeCharAt(text, next) === ";";
    if (isLast || StringPrototypeCharAt(text, at - 1) !== "\\") {
      const semicolon = StringPrototypeIndexOf(text, ";", at);
      return { text: value, end: semicolon < 0 ? text.length : semicolon };
    }
    value = StringPrototypeSlice(value, 0, -1) + character;
  }
  // It never ends: such a parameter is none.
  return { text: "", end: text.length };
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (StringPrototypeCharAt(text, at) === " " || StringPrototypeCharAt(text, at) === "\t") {
    at++;
  }
  return at;
}

function parseFormData(bytes: Uint8Array, boundary: string | undefined): FormData {
  if (boundary === undefined || boundary === "") {
    throw new TypeError(
      "No boundary string in Content-Type header. The multipart/form-data MIME type requires a boundary parameter, e.g. 'Content-Type: multipart/form-data; boundary=\"abcd\"'. See RFC 7578, section 4.",
    );
  }
  return new Form(bytes, boundary).read();
}

return { parseFormData };
})();
