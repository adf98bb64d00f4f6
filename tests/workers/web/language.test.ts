// What the engine brings: WebAssembly, Intl, Temporal, and what is switched off.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const plain = (text: string) => text.replace(/[\u00a0\u202f]/g, " ");

test("numbers and money are written as each language writes them", () => {
  assertEquals(plain(new Intl.NumberFormat("de-DE", { style: "currency", currency: "EUR" }).format(1234567.891)), "1.234.567,89 €");
  assertEquals(plain(new Intl.NumberFormat("fr").format(1234567.5)), "1 234 567,5");
  assertEquals(new Intl.NumberFormat("ja-JP", { style: "currency", currency: "JPY" }).format(5000), "￥5,000");
  assertEquals(new Intl.NumberFormat("hi-IN").format(12345678), "1,23,45,678");
  assertEquals(new Intl.NumberFormat("ar-EG").format(123), "١٢٣");
  assertEquals((1234.5).toLocaleString("en-US"), "1,234.5");
});

test("dates are written as each language writes them", () => {
  const date = new Date(Date.UTC(2026, 7, 4, 15, 30));
  const format = (locale: string) => plain(new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "short", timeZone: "UTC" }).format(date));
  assertEquals(format("en-US"), "Tuesday, August 4, 2026 at 3:30 PM");
  assertEquals(format("de"), "Dienstag, 4. August 2026 um 15:30");
  assert(format("ja").includes("2026年8月4日火曜日"), format("ja"));
  assert(format("ru").includes("вторник, 4 августа 2026"), format("ru"));
  assertEquals(new Intl.DateTimeFormat("en", { timeZone: "Asia/Tokyo", hour: "numeric", hour12: false }).format(date), "00");
});

test("plurals, lists, relative times, names and collation", () => {
  assertEquals(new Intl.PluralRules("pl").select(3), "few");
  assertEquals(new Intl.ListFormat("es", { type: "conjunction" }).format(["a", "b", "c"]), "a, b y c");
  assertEquals(new Intl.RelativeTimeFormat("pt", { numeric: "auto" }).format(-1, "day"), "ontem");
  assertEquals(new Intl.DisplayNames("it", { type: "region" }).of("DE"), "Germania");
  assertEquals(["z", "ä", "a"].sort(new Intl.Collator("sv").compare), ["a", "z", "ä"]);
  assertEquals(["z", "ä", "a"].sort(new Intl.Collator("de").compare), ["a", "ä", "z"]);
  assertEquals([...new Intl.Segmenter("en", { granularity: "grapheme" }).segment("👩‍👩‍👧é")].length, 2);
  assertEquals([..."ıI".toLocaleUpperCase("tr"), "İ".toLocaleLowerCase("tr")], ["I", "I", "i"]);
});

test("Temporal counts days and knows time zones", () => {
  const { Temporal } = globalThis as any;
  assertEquals(Temporal.PlainDate.from("2026-01-31").add({ months: 1 }).toString(), "2026-02-28");
  assertEquals(Temporal.PlainDate.from("2026-01-01").until("2026-12-25").days, 358);
  assertEquals(Temporal.Instant.from("2026-08-04T15:30:00Z").toZonedDateTimeISO("America/New_York").hour, 11);
  assertEquals(Temporal.Duration.from({ hours: 25 }).round({ largestUnit: "days" }).toString(), "P1DT1H");
});

test("the time zone is UTC", () => {
  assertEquals(new Date(2026, 0, 1).toISOString(), "2026-01-01T00:00:00.000Z");
  assertEquals(new Intl.DateTimeFormat().resolvedOptions().timeZone, "UTC");
});

// (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
const adder = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1, 7, 0,
  32, 0, 32, 1, 106, 11,
]);

test("code from strings is refused", () => {
  const expected = { name: "EvalError", message: "Code generation from strings disallowed for this context" };
  assertThrows(() => (0, eval)("1"), expected);
  assertThrows(() => new Function("return 1"), expected);
  assertThrows(() => (async () => {}).constructor("return 1"), expected);
  assertThrows(() => (function* () {}).constructor("return 1"), expected);
});

test("a text as a timer's handler runs nothing", async () => {
  (globalThis as any).ran = 0;
  try {
    setTimeout("ran = 1" as any, 0);
  } catch (error) {
    assert(error instanceof Error, String(error));
  }
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals((globalThis as any).ran, 0);
});

test("WebAssembly is validated, compiled and run", async () => {
  assertEquals([WebAssembly.validate(adder), WebAssembly.validate(new Uint8Array(8))], [true, false]);
  const { instance } = await WebAssembly.instantiate(adder);
  assertEquals((instance.exports.add as any)(2, 40), 42);
  const module = new WebAssembly.Module(adder);
  assertEquals(WebAssembly.Module.exports(module), [{ name: "add", kind: "function" }]);
  assertEquals((new WebAssembly.Instance(module).exports.add as any)(2147483647, 1), -2147483648);
  await assertRejects(() => WebAssembly.instantiate(new Uint8Array([1, 2, 3, 4])), { name: "CompileError", message: /.+/ });
});

test("WebAssembly shares memory with JavaScript", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2 });
  new Uint8Array(memory.buffer)[0] = 5;
  assertEquals(memory.grow(1), 1);
  assertEquals([memory.buffer.byteLength, new Uint8Array(memory.buffer)[0]], [131072, 5]);
});

test("recent features of the language are there", async () => {
  assertEquals(Object.groupBy([1, 2, 3], (n) => n % 2 ? "odd" : "even") as any, Object.assign(Object.create(null), { odd: [1, 3], even: [2] }));
  assertEquals([..."abc"].toReversed().with(0, "x"), ["x", "b", "a"]);
  assertEquals(new Set([1, 2]).union(new Set([3])).size, 3);
  assertEquals([1, 2, 3].values().map((n) => n * 2).toArray(), [2, 4, 6]);
  assertEquals(Promise.withResolvers().promise instanceof Promise, true);
  assertEquals(await Array.fromAsync((async function* () { yield 1; })()), [1]);
  assertEquals("a\ud800".isWellFormed(), false);
  assertEquals(new Uint8Array([255]).toBase64(), "/w==");
  assertEquals(/(?<y>\d)|(?<y>x)/.exec("x")?.groups?.y, "x");
  assertEquals(typeof WeakRef, "function");
});
