//! What a worker may be written in and how its files find each other.

use aerostack_isolate::{ErrorReport, Failure, LoadError};
use aerostack_modules::FrameStyle;
use aerostack_tests::{TestWorker, WorkerSetup, test};
use bytes::Bytes;
use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    language(trials);
    files(trials);
    stacks(trials);
    problems(trials);
    exports(trials);
}

/// `(module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))`
const ADDER: &[u8] = &[
    0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9,
    1, 7, 0, 32, 0, 32, 1, 106, 11,
];

/// What a worker answers whose handler returns `expression` as JSON, after the statements of `source`.
async fn evaluated(setup: WorkerSetup, source: &str, expression: &str) -> String {
    let main = format!("{source}\nexport default {{ fetch: async () => Response.json({expression}) }};\n");
    setup.file("src/index.ts", main).start().await.get("/").await.text()
}

fn language(trials: &mut Vec<Trial>) {
    let project = || WorkerSetup::of("");
    trials.push(test("enums and namespaces of TypeScript run", async move || {
        let source = "enum Color { Red, Green = 'g', Blue = 1 << 3 }
            const enum Size { S = 4, M = S * 2 }
            namespace Geo { export const pi = 3; export namespace Deep { export const e = pi + Size.M } }
            declare module 'x' { interface Y {} }";
        let answer = evaluated(project(), source, "[Color.Red, Color[0], Color.Green, Color.Blue, Size.M, Geo.Deep.e]");
        assert_eq!(answer.await, r#"[0,"Red","g",8,8,11]"#);
    }));
    trials.push(test(
        "classes of TypeScript run: parameter properties, overloads, private and abstract members",
        async move || {
            let source =
                "abstract class Shape { abstract area(): number; constructor(protected readonly name: string) {} }
            class Square extends Shape {
              #side: number;
              declare ignored: string;
              static made = 0;
              static { Square.made = 5; }
              accessor scale = 2;
              constructor(name: string, side: number, public tag?: string) { super(name); this.#side = side; }
              area(): number; area(): number { return this.#side ** 2 * this.scale; }
              get label(): string { return `${this.name}:${this.tag ?? 'none'}` satisfies string; }
            }
            const s = new Square('q', 3)!;";
            let answer = evaluated(project(), source, "[s.area(), s.label, Square.made, Object.keys(s as any)]").await;
            assert_eq!(answer, r#"[18,"q:none",5,["name","tag"]]"#);
        },
    ));
    trials.push(test("decorators of the language run", async move || {
        let source = "const log: string[] = [];
            function named(value: any, context: ClassMemberDecoratorContext) {
              log.push(`${context.kind} ${String(context.name)}`);
              if (context.kind === 'method') return function (this: any, ...args: any[]) { return value.call(this, ...args) + 1; };
            }
            class A { @named one() { return 1; } @named accessor two = 2; @named three = 3; }";
        let answer = evaluated(project(), source, "[new A().one(), ...log.sort()]").await;
        assert_eq!(answer, r#"[2,"accessor two","field three","method one"]"#);
    }));
    trials.push(test("the older decorators run where tsconfig.json asks for them", async move || {
        let source = "const seen: string[] = [];
            const field = (target: any, key: string) => { seen.push(`field ${key}`); };
            const inject = (_: any, __: any, index: number) => { seen.push(`parameter ${index}`); };
            const sealed = (target: any) => { seen.push(`class ${target.name}`); };
            @sealed class A { @field a = 1; constructor(@inject b: string) {} }";
        let options = "{ // with a comment\n \"compilerOptions\": { \"experimentalDecorators\": true }, }";
        let answer = evaluated(project().file("tsconfig.json", options), source, "seen").await;
        assert_eq!(answer, r#"["field a","parameter 0","class A"]"#);
    }));
    trials.push(test("TSX runs with a runtime of its own and with functions in the file", async move || {
        let setup = project()
            .file("node_modules/ui/package.json", r#"{"name": "ui", "exports": {"./jsx-runtime": "./jsx.js"}}"#)
            .file(
                "node_modules/ui/jsx.js",
                "export const jsx = (tag, { children, ...rest }) => ({ tag, rest, children });
                 export const jsxs = jsx; export const Fragment = 'fragment';",
            )
            .file(
                "src/page.tsx",
                "/** @jsxImportSource ui */\nconst Name = 'p';\nexport const page = <><b class=\"x\">{1 + 1}</b><Name/></>;",
            )
            .file(
                "src/classic.tsx",
                "/** @jsxRuntime classic */\n/** @jsx h */\nconst h = (...all: unknown[]) => all;\nexport const item = <li id=\"a\">text</li>;",
            );
        let source = "import { page } from './page';\nimport { item } from './classic';";
        let expected = concat!(
            r#"[{"tag":"fragment","rest":{},"children":[{"tag":"b","rest":{"class":"x"},"children":2},{"tag":"p","rest":{}}]},"#,
            r#"["li",{"id":"a"},"text"]]"#
        );
        assert_eq!(evaluated(setup, source, "[page, item]").await, expected);
    }));
    trials.push(test("types and unused imports of types leave nothing behind", async move || {
        let setup = project().file("src/types.ts", "export interface A { x: number }\nexport type B = A;\nthrow new Error('ran');");
        let source = "import { A, type B } from './types';\nimport type C from './gone';\nconst a = { x: 1 } as A as B;\nlet c: C;";
        assert_eq!(evaluated(setup, source, "a").await, r#"{"x":1}"#);
    }));
}

fn files(trials: &mut Vec<Trial>) {
    let project = || WorkerSetup::of("");
    trials.push(test("relative imports are found with and without extension, as folder and as .js of a .ts", async move || {
        let setup = project()
            .file("src/a.ts", "export default 'a'")
            .file("src/b/index.ts", "export * from '../c.js'; export default 'b'")
            .file("src/c.ts", "export const c = 'c'")
            .file("lib/d.mjs", "export default 'd'");
        let source = "import a from './a';\nimport a2 from './a.ts';\nimport b, { c } from './b';\nimport d from '../lib/d.mjs';";
        assert_eq!(evaluated(setup, source, "[a, a2, b, c, d]").await, r#"["a","a","b","c","d"]"#);
    }));
    trials.push(test("@shared leads to the shared folder of the project", async move || {
        let setup = project()
            .file("shared/auth.ts", "import { salt } from '@shared/util/salt';\nexport const token = salt + '!';")
            .file("shared/util/salt.ts", "export const salt = 'salt';");
        assert_eq!(evaluated(setup, "import { token } from '@shared/auth';", "token").await, r#""salt!""#);
    }));
    trials.push(test("JSON, text, HTML, SQL and bytes are imported as values", async move || {
        let setup = project()
            .file("src/a.json", r#"{"a": [1, null], "__proto__": {"b": 2}}"#)
            .file("src/t.txt", "line \"one\"\nline two\u{2028}")
            .file("src/h.html", "<p>ä</p>")
            .file("src/q.sql", "SELECT 1; -- ${x}`")
            .file("src/b.bin", [0, 255, 7]);
        let source = "import a from './a.json';\nimport j from './a.json' with { type: 'json' };\nimport t from './t.txt';
            import h from './h.html';\nimport q from './q.sql';\nimport b from './b.bin';";
        let expression = "[Object.keys(a), a.a, JSON.stringify(j) === JSON.stringify(a), t, h, q, b instanceof ArrayBuffer, [...new Uint8Array(b)]]";
        let expected = concat!(
            r#"[["a","__proto__"],[1,null],true,"line \"one\"\nline two"#,
            "\u{2028}",
            r#"","<p>ä</p>","SELECT 1; -- ${x}`",true,[0,255,7]]"#
        );
        assert_eq!(evaluated(setup, source, expression).await, expected);
    }));
    trials.push(test("a .wasm file is a compiled module", async move || {
        let setup = project().file("src/add.wasm", ADDER);
        let expression = "[add instanceof WebAssembly.Module, (await WebAssembly.instantiate(add)).exports.add(40, 2)]";
        assert_eq!(evaluated(setup, "import add from './add.wasm';", expression).await, "[true,42]");
    }));
    trials.push(test("a dynamic import loads when it runs, once", async move || {
        let setup = project().file("src/late.ts", "(globalThis as any).loads = ((globalThis as any).loads ?? 0) + 1; export const late = 'late';");
        let expression =
            "[(globalThis as any).loads ?? 0, (await import('./late')).late, (await import('./late.ts')) === (await import('./late')), (globalThis as any).loads]";
        let handler = format!("export default {{ fetch: async () => Response.json({expression}) }};");
        let worker = setup.file("src/index.ts", handler).start().await;
        assert_eq!(worker.get("/").await.text(), r#"[0,"late",true,1]"#);
    }));
    trials.push(test("a dynamic import of a computed name fails clearly where there is nothing", async move || {
        let source = "const name = './nothing'; const outcome = await import(name).catch((error) => `${error.name}: ${error.message}`);";
        assert_eq!(evaluated(project(), source, "outcome").await, r#""TypeError: cannot find module \"./nothing\"""#);
    }));
    trials.push(test("top-level await settles before the first request", async move || {
        let setup = project().file("src/slow.ts", "export const value = await scheduler.wait(5).then(() => 'waited');");
        let source = "import { value } from './slow';\nconst more = await Promise.resolve('more');";
        assert_eq!(evaluated(setup, source, "[value, more]").await, r#"["waited","more"]"#);
    }));
    trials.push(test("modules that import each other run once, in their order", async move || {
        let setup = project()
            .file("src/order.ts", "export const order: string[] = [];")
            .file("src/a.ts", "import { order } from './order'; import { b } from './b'; order.push('a'); export function a() { return b; }")
            .file("src/b.ts", "import { order } from './order'; import { a } from './a'; order.push('b'); export const b = 1; export const usesA = () => a();");
        let source = "import { usesA } from './b';\nimport { order } from './order';\norder.push('main');";
        assert_eq!(evaluated(setup, source, "[order, usesA()]").await, r#"[["a","b","main"],1]"#);
    }));
    trials.push(test("import.meta.url is the file's own, below /bundle and never the machine's", async move || {
        let setup = project().file("src/deep/a.ts", "export const url = import.meta.url;");
        assert_eq!(
            evaluated(setup, "import { url } from './deep/a';", "url").await,
            r#""file:///bundle/src/deep/a.ts""#
        );
    }));
    trials.push(test("a package is imported by its name, also from a scope", async move || {
        let setup = project()
            .file(
                "node_modules/a/package.json",
                r#"{"name": "a", "type": "module", "exports": {".": {"workerd": "./w.js", "default": "./d.js"}}}"#,
            )
            .file("node_modules/a/w.js", "export default 'for workers'")
            .file("node_modules/@s/b/package.json", r#"{"name": "@s/b", "main": "m.mjs"}"#)
            .file("node_modules/@s/b/m.mjs", "import a from 'a'; export const b = a + '!'");
        assert_eq!(evaluated(setup, "import { b } from '@s/b';", "b").await, r#""for workers!""#);
    }));
}

/// Throws on line 8, column 9.
const THROWS: &str = "interface Env { A: string }

enum Kind { A, B }

class Deep {
  fail(kind: Kind): never {
    const text: string = 'boom ' + kind;
    throw new TypeError(text, { cause: new Error('the reason') });
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === '/stack') {
      try { new Deep().fail(Kind.B); } catch (error) { return new Response((error as Error).stack); }
    }
    if (url.pathname === '/later') setTimeout(() => { throw new RangeError('later'); }, 0);
    else new Deep().fail(Kind.B);
    return new Response('ok');
  },
};
";

fn stacks(trials: &mut Vec<Trial>) {
    trials.push(test("error.stack names the lines that were written", async || {
        let worker = TestWorker::start(THROWS).await;
        let stack = worker.get("/stack").await.text();
        let lines: Vec<&str> = stack.lines().map(str::trim).take(3).collect();
        let expected =
            ["TypeError: boom 1", "at Deep.fail (src/index.ts:8:11)", "at Object.fetch (src/index.ts:16:24)"];
        assert_eq!(lines, expected);
    }));
    trials.push(test("an uncaught error is reported with mapped frames, a code frame and its cause", async || {
        let worker = TestWorker::start(THROWS).await;
        let Err(Failure::Exception(error)) =
            worker.try_send(http::Request::get("/").body(Bytes::new()).expect("valid")).await
        else {
            panic!("the handler throws");
        };
        let report = ErrorReport::new(&error, &worker.worker.version());
        let expected = "Uncaught TypeError: boom 1
    at fail (src/index.ts:8:11)
    at fetch (src/index.ts:19:21)
Caused by: Error: the reason
    at fail (src/index.ts:8:40)
    at fetch (src/index.ts:19:21)";
        assert_eq!(report.stack_text(), expected);
        let frame = report.code_frame(FrameStyle::Plain).expect("the error has a place");
        assert!(frame.contains("--> src/index.ts:8:11"), "{frame}");
        assert!(frame.contains("8 |     throw new TypeError(text, { cause: new Error('the reason') });"), "{frame}");
    }));
    trials.push(test(
        "an error in a timer is logged with the request it belongs to, and the answer stands",
        async || {
            let worker = TestWorker::start(THROWS).await;
            assert_eq!(worker.get("/later").await.text(), "ok");
            worker.log.wait_for("Uncaught RangeError: later").await;
        },
    ));
    trials.push(test("errors in other files name those files", async || {
        let setup = WorkerSetup::of("import { go } from './lib/go';\nexport default { fetch: () => go() };\n").file(
            "src/lib/go.ts",
            "type A = string;\n\nexport const go = (a?: A): Response => {\n  throw new Error('in go' as A);\n};\n",
        );
        let worker = setup.start().await;
        let failure = worker.try_send(http::Request::get("/").body(Bytes::new()).expect("valid")).await;
        let Err(Failure::Exception(error)) = failure else { panic!("the handler throws") };
        let report = ErrorReport::new(&error, &worker.worker.version());
        assert_eq!(
            report.stack_text(),
            "Uncaught Error: in go\n    at go (src/lib/go.ts:4:9)\n    at fetch (src/index.ts:2:31)"
        );
    }));
}

fn problems(trials: &mut Vec<Trial>) {
    let shown = |setup: WorkerSetup| match setup.load_graph() {
        Ok(_) => panic!("the project is wrong"),
        Err(errors) => errors.render(FrameStyle::Plain),
    };
    trials.push(test("a syntax error prints file, line, column and a code frame", async move || {
        let frame = shown(WorkerSetup::of(
            "const a: number = 1;\nexport default {\n  fetch() { return new Response('x' }\n};\n",
        ));
        assert!(frame.contains("--> src/index.ts:3:37"), "{frame}");
        assert!(frame.contains("3 |   fetch() { return new Response('x' }"), "{frame}");
    }));
    trials.push(test("a missing import prints where it stands and what was meant", async move || {
        let setup = WorkerSetup::of("import { a } from './helprs';\nexport default { fetch: () => a };\n")
            .file("src/helpers.ts", "");
        let frame = shown(setup);
        assert!(frame.starts_with("error: cannot find module \"./helprs\"\n --> src/index.ts:1:19"), "{frame}");
        assert!(frame.ends_with("= hint: did you mean \"./helpers\"?"), "{frame}");
    }));
    trials.push(test("an import of a name that a module does not export is a load error", async || {
        let setup = WorkerSetup::of("import { nope } from './a';\nexport default { fetch: () => nope };\n")
            .file("src/a.ts", "export const a = 1;");
        let error = setup.try_start().await.err().expect("it does not load");
        assert!(error.to_string().contains("does not provide an export named 'nope'"), "{error}");
    }));
    trials.push(test("a main module that throws is a load error with mapped frames", async || {
        let setup = WorkerSetup::of(
            "type A = 1;\n\nconst a: A = 1;\nthrow new RangeError('at load ' + a);\nexport default {};\n",
        );
        let Err(LoadError::Exception(error)) = setup.try_start().await else { panic!("it does not load") };
        assert_eq!(error.exception_message, "Uncaught RangeError: at load 1");
        let frame = &error.frames[0];
        assert_eq!((frame.file_name.as_deref(), frame.line_number), (Some("file:///project/src/index.ts"), Some(4)));
    }));
    trials.push(test("a top-level await that rejects or never settles is a load error", async || {
        let rejects =
            WorkerSetup::of("await Promise.reject(new Error('rejected'));\nexport default {};\n").try_start().await;
        let error = rejects.err().expect("it does not load").to_string();
        assert!(error.contains("rejected"), "{error}");
        let never = WorkerSetup::of("await new Promise(() => {});\nexport default {};\n").try_start().await;
        let error = never.err().expect("it does not load").to_string();
        assert!(error.contains("never resolve"), "{error}");
    }));
}

fn exports(trials: &mut Vec<Trial>) {
    for (what, source) in [
        ("an object", "export default { fetch: () => new Response('ok') };"),
        ("a class with a static fetch", "export default class { static #text = 'ok'; static fetch() { return new Response(this.#text); } }"),
        ("a function with a fetch", "const app = () => {};\napp.text = 'ok';\napp.fetch = function () { return new Response(this.text); };\nexport default app;"),
        ("an instance of a class", "class App { text = 'ok'; fetch() { return new Response(this.text); } }\nexport default new App();"),
        (
            "an object with the unbound fetch of an app, as Hono's is used",
            "class App { text = 'ok'; fetch = (request: Request, env: unknown, ctx: unknown) => new Response(this.text); }
             const app = new App();\nexport default { fetch: app.fetch };",
        ),
        ("an object with named exports beside it", "export const other = 1;\nexport function fetch() { throw new Error('not this'); }\nexport default { fetch: () => new Response('ok') };"),
        ("an object with a null prototype", "export default Object.assign(Object.create(null), { fetch: () => new Response('ok') });"),
        ("a default export under another name", "const handler = { fetch: () => new Response('ok') };\nexport { handler as default };"),
    ] {
        trials.push(test(&format!("{what} serves as the default export"), async move || {
            assert_eq!(TestWorker::start(source).await.get("/").await.text(), "ok");
        }));
    }
    for (what, source, expected) in [
        ("nothing", "export const fetch = () => new Response('x');", "the main module has no default export"),
        ("null", "export default null;", "the main module has no default export"),
        ("a text", "export default 'x';", "the default export is a string, not an object with handlers"),
    ] {
        trials.push(test(&format!("{what} as the default export is a load error"), async move || {
            let error = WorkerSetup::of(source).try_start().await.err().expect("it does not load").to_string();
            assert!(error.contains(expected), "{error}");
        }));
    }
    trials.push(test("a default export without fetch says so at the first request", async || {
        let worker = TestWorker::start("export default { scheduled() {} };").await;
        let failure = worker.try_send(http::Request::get("/").body(Bytes::new()).expect("valid")).await;
        let Err(Failure::Exception(error)) = failure else { panic!("there is nothing to answer with") };
        assert_eq!(error.exception_message, "Uncaught TypeError: Handler does not export a fetch() function.");
    }));
    trials.push(test("module state is kept from request to request", async || {
        let worker = TestWorker::start("let n = 0;\nexport default { fetch: () => new Response(String(++n)) };").await;
        worker.get("/").await;
        assert_eq!(worker.get("/").await.text(), "2");
    }));
}
