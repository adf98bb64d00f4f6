use crate::tests::{Project, code, module, paths};

/// The code that `src/index.ts` becomes.
#[track_caller]
fn compiled(text: &str) -> String {
    code(&Project::new([("src/index.ts", text)]).graph(), "src/index.ts")
}

/// As [`compiled`], with compiler options and with the file under another name.
#[track_caller]
fn compiled_as(name: &str, options: &str, text: &str) -> String {
    let config = format!("{{\"compilerOptions\": {{{options}}}}}");
    let main = format!("export * from \"./{name}\";");
    let path = format!("src/{name}");
    let runtime = "export const jsx = 1, jsxs = 1, Fragment = 1";
    let project = Project::new([
        ("src/index.ts", &*main),
        (&*path, text),
        ("tsconfig.json", &*config),
        ("node_modules/react/jsx-runtime.js", runtime),
        ("node_modules/preact/jsx-runtime.js", runtime),
        ("node_modules/hono/jsx/jsx-runtime.js", runtime),
    ]);
    code(&project.graph(), &path)
}

#[test]
fn types_are_gone_and_values_stay() {
    let code =
        compiled("interface A { b: string }\nexport const x = <T>(a: T, b?: A): T => (b!, a as T) satisfies unknown;");
    assert_eq!(code, "export const x = (a, b)=>(b, a);\n");
}

#[test]
fn enums_namespaces_and_parameter_properties_become_code() {
    let code = compiled(
        "export enum Color { Red, Green = 'g' }
         export const enum Size { S = 4, M = S * 2 }
         export namespace Geo { export const pi = 3; export namespace Deep { export const e = Size.M } }
         export class Point { constructor(readonly x: number, private y = 1) {} }",
    );
    assert!(code.contains("Color[Color[\"Red\"] = 0] = \"Red\""), "{code}");
    assert!(code.contains("Color[\"Green\"] = \"g\""), "{code}");
    assert!(code.contains("Size[Size[\"M\"] = 8] = \"M\""), "{code}");
    assert!(code.contains("Geo.pi = 3"), "{code}");
    assert!(code.contains("this.x = x") && code.contains("this.y = y"), "{code}");
}

#[test]
fn decorators_are_the_standard_ones_unless_tsconfig_says_otherwise() {
    let text = "function log(...args: unknown[]) {}\nexport class A { @log m(p: string) {} }";
    let standard = compiled_as("a.ts", "", text);
    assert!(!standard.contains("@log"), "{standard}");
    assert!(standard.contains("addInitializer"), "{standard}");

    let legacy = compiled_as("a.ts", "\"experimentalDecorators\": true", text);
    assert!(legacy.contains("_ts_decorate(["), "{legacy}");
    assert!(!legacy.contains("design:paramtypes"), "{legacy}");

    let with_metadata = compiled_as("a.ts", "\"experimentalDecorators\": true, \"emitDecoratorMetadata\": true", text);
    assert!(with_metadata.contains("design:paramtypes"), "{with_metadata}");
}

#[test]
fn javascript_runs_as_it_was_written() {
    let text = "// kept\nexport  const a = await import.meta.url;\n";
    let project = Project::new([("src/index.ts", "import './a.js'"), ("src/a.js", text)]);
    let graph = project.graph();
    assert_eq!(code(&graph, "src/a.js"), text);
    assert!(module(&graph, "src/a.js").source_map.is_none());
}

#[test]
fn javascript_with_decorators_or_jsx_is_compiled_and_keeps_unused_imports() {
    let decorated = compiled_as(
        "a.js",
        "\"experimentalDecorators\": true",
        "function d() {}\nexport class A { @d accessor x = 1 }",
    );
    assert!(!decorated.contains("@d") && !decorated.contains("accessor x"), "{decorated}");
    assert!(!decorated.contains("_ts_decorate"), "the option is for TypeScript: {decorated}");

    let jsx = compiled_as("a.js", "", "import { unused } from './index';\nexport const a = <p/>;");
    assert!(jsx.contains("from './index'") || jsx.contains("from \"./index\""), "{jsx}");
    assert!(jsx.contains("_jsx(\"p\""), "{jsx}");
}

#[test]
fn jsx_is_automatic_and_its_source_can_be_chosen_in_tsconfig_and_in_the_file() {
    let text = "export const a = <p class=\"x\">{1}</p>;";
    let default = compiled_as("a.tsx", "", text);
    assert!(default.contains("from \"react/jsx-runtime\""), "{default}");

    let hono = compiled_as("a.tsx", "\"jsx\": \"react-jsx\", \"jsxImportSource\": \"hono/jsx\"", text);
    assert!(hono.contains("import { jsx as _jsx } from \"hono/jsx/jsx-runtime\""), "{hono}");

    let pragma = format!("/** @jsxImportSource preact */\n{text}");
    let preact = compiled_as("a.tsx", "\"jsxImportSource\": \"hono/jsx\"", &pragma);
    assert!(preact.contains("from \"preact/jsx-runtime\""), "{preact}");
}

#[test]
fn jsx_is_classic_where_tsconfig_says_so() {
    let text = "const h = 1, Frag = 2;\nexport const a = <><p/></>;";
    let own = compiled_as("a.tsx", "\"jsx\": \"react\", \"jsxFactory\": \"h\", \"jsxFragmentFactory\": \"Frag\"", text);
    assert!(
        own.contains("h(Frag, null, /*#__PURE__*/ h(\"p\", null))") || own.contains("h(Frag, null, h(\"p\", null))"),
        "{own}"
    );
    let react = compiled_as("a.tsx", "\"jsx\": \"react\"", "const React = 1;\nexport const a = <p/>;");
    assert!(react.contains("React.createElement(\"p\", null)"), "{react}");
}

#[test]
fn a_generic_arrow_is_no_jsx_in_a_ts_file() {
    assert_eq!(compiled("export const f = <T>(a: T) => <T>a;"), "export const f = (a)=>a;\n");
}

#[test]
fn unused_imports_are_dropped_unless_tsconfig_keeps_them() {
    let text = "import { A } from './index';\nimport type { B } from './gone';\nexport let a: A | B;";
    assert_eq!(compiled_as("a.ts", "", text), "export let a;\n");
    let kept = compiled_as("a.ts", "\"verbatimModuleSyntax\": true", text);
    assert!(kept.contains("import { A } from './index'") && !kept.contains("gone"), "{kept}");
}

#[test]
fn options_of_an_extended_tsconfig_are_inherited_and_overridden() {
    let project = Project::new([
        ("src/index.ts", "import './a'; import type {} from 'x'"),
        ("src/a.tsx", "export const a = <p/>"),
        ("tsconfig.json", r#"{"extends": ["./one.json", "./two"], "compilerOptions": {"jsx": "react-jsx"}}"#),
        ("one.json", r#"{"compilerOptions": {"jsxImportSource": "one", "jsx": "react"}}"#),
        ("two.json", r#"{"compilerOptions": {"jsxImportSource": "two"}}"#),
        ("node_modules/two/jsx-runtime.js", "export const jsx = 1"),
    ]);
    assert!(code(&project.graph(), "src/a.tsx").contains("two/jsx-runtime"));
}

#[test]
fn a_tsconfig_base_above_the_project_is_read_and_one_from_npm_may_be_missing() {
    let project = Project::new([
        ("src/index.ts", "declare const d: any; @d export class A {}"),
        ("tsconfig.json", r#"{"extends": ["@tsconfig/strictest", "../base.json"]}"#),
    ]);
    project.files.write("/base.json", r#"{"compilerOptions": {"experimentalDecorators": true}}"#);
    assert!(code(&project.graph(), "src/index.ts").contains("_ts_decorate"));
}

#[test]
fn imports_are_followed_wherever_they_are_written_as_literals() {
    let project = Project::new([
        (
            "src/index.ts",
            "import './a'; export * from './b'; export { c } from './c'; export * as d from './d';
             export const e = () => import('./e'); const f = await import(`./f`); const name = 'x'; import(`./${name}`).then(f);
             import json from './g.json' with { type: 'json' }; export { json };",
        ),
        ("src/a.ts", "import './index'"),
        ("src/b.ts", "export {}"),
        ("src/c.ts", "export const c = 1"),
        ("src/d.ts", ""),
        ("src/e.ts", "import './h'"),
        ("src/f.ts", ""),
        ("src/g.json", "1"),
        ("src/h.ts", ""),
    ]);
    let graph = project.graph();
    let expected = ["a.ts", "b.ts", "c.ts", "d.ts", "e.ts", "f.ts", "g.json", "h.ts", "index.ts"]
        .map(|name| format!("src/{name}"));
    assert_eq!(paths(&graph), expected);
    assert!(code(&graph, "src/index.ts").contains("with {"), "the engine has to see the attribute");
}

#[test]
fn a_guarded_import_may_fail_and_the_graph_says_why() {
    let project = Project::new([
        (
            "src/index.ts",
            "try { await import('optional') } catch {}
             import('./broken').catch(() => 0);
             import('./gone').then(() => 1, () => 0);",
        ),
        ("src/broken.ts", "const = 1"),
    ]);
    let graph = project.graph();
    assert_eq!(paths(&graph), ["src/index.ts"]);
    let broken = graph.resolve("./broken", &graph.main).expect("the file is there");
    assert_eq!(graph.load_failure(&broken)[0].location(), "src/broken.ts:1:7");
    assert_eq!(graph.load_failure(&graph.main).len(), 0);
    assert!(graph.resolve("optional", &graph.main).is_err());
}

#[test]
fn a_dynamic_import_that_nothing_guards_has_to_be_there() {
    let problem = Project::new([("src/index.ts", "try { import('./gone') } finally {}")]).problem();
    assert_eq!(problem.message, "cannot find module \"./gone\"");
}

#[test]
fn packages_may_import_what_is_not_there_as_long_as_nobody_runs_it() {
    let project = Project::new([
        ("src/index.ts", "import 'a'"),
        ("node_modules/a/index.js", "export const hash = () => import('node:crypto')"),
    ]);
    assert_eq!(paths(&project.graph()), ["node_modules/a/index.js", "src/index.ts"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_source() {
    let project = Project::new([
        ("src/index.ts", "\u{FEFF}import json from './a.json'; import t from './t.txt'; export default [json, t]"),
        ("src/a.json", "\u{FEFF}{}"),
        ("src/t.txt", "\u{FEFF}text"),
    ]);
    let graph = project.graph();
    assert_eq!(&*module(&graph, "src/t.txt").original, "text");
    assert!(module(&graph, "src/index.ts").original.starts_with("import"));
}

#[test]
fn a_jsx_comment_names_the_functions_of_its_file_without_tsconfig_and_against_it() {
    let text = "/** @jsx h */\nconst h = 1;\nexport const a = <p/>;";
    let alone =
        code(&Project::new([("src/index.ts", "export * from './a.tsx';"), ("src/a.tsx", text)]).graph(), "src/a.tsx");
    assert!(alone.contains("h(\"p\", null)"), "{alone}");
    let against = compiled_as("a.tsx", "\"jsx\": \"react-jsx\", \"jsxImportSource\": \"hono/jsx\"", text);
    assert!(against.contains("h(\"p\", null)") && !against.contains("jsx-runtime"), "{against}");
}

/// The types of the next tests, and a value.
const TYPES: &str = "export interface User { name: string }\nexport type Id = string;\nexport enum Color { Red }\n\
                     export default interface Settings { a: 1 }\nexport declare const Ambient: number;";

#[test]
fn names_that_are_types_in_another_module_are_not_exported_on() {
    let project = Project::new([
        (
            "src/index.ts",
            "export { User, Color } from './types';\nexport { User as Person, Id, Color as Colour } from './forward';",
        ),
        ("src/forward.ts", "import { User, Id, Color } from './types';\nexport { User, Id, Color };"),
        ("src/types.ts", TYPES),
    ]);
    let graph = project.graph();
    let main = code(&graph, "src/index.ts");
    assert!(!main.contains("User") && !main.contains("Id") && main.contains("Color as Colour"), "{main}");
    let forward = code(&graph, "src/forward.ts");
    assert!(!forward.contains("User") && !forward.contains("Id") && forward.contains("Color"), "{forward}");
}

#[test]
fn default_ambient_and_starred_types_are_not_exported_on_either() {
    let project = Project::new([
        (
            "src/index.ts",
            "import Settings, { Ambient } from './types';
              export { Settings, Ambient };
              export { User, Color } from './stars';",
        ),
        ("src/stars.ts", "export * from './types';"),
        ("src/types.ts", TYPES),
    ]);
    let main = code(&project.graph(), "src/index.ts");
    assert!(!main.contains("Settings") && !main.contains("Ambient") && !main.contains("User"), "{main}");
    assert!(main.contains("Color"), "{main}");
}

#[test]
fn imports_of_types_that_verbatim_module_syntax_keeps_are_dropped() {
    let text = "import { User, Color } from './types';\nexport const red = (user: User) => Color.Red;";
    let config = "{\"compilerOptions\": {\"verbatimModuleSyntax\": true}}";
    let project = Project::new([("src/index.ts", text), ("src/types.ts", TYPES), ("tsconfig.json", config)]);
    let main = code(&project.graph(), "src/index.ts");
    assert!(!main.contains("User") && main.contains("Color"), "{main}");
}

#[test]
fn a_name_that_nobody_declares_stays_for_the_engine_to_refuse() {
    let project = Project::new([
        (
            "src/index.ts",
            "export { Nobody } from './types';\nimport { Neither } from './types';\nexport const a = Neither;",
        ),
        ("src/types.ts", TYPES),
    ]);
    let main = code(&project.graph(), "src/index.ts");
    assert!(main.contains("Nobody") && main.contains("Neither"), "{main}");
}

#[test]
fn modules_that_export_each_other_on_in_a_circle_end() {
    let project = Project::new([
        ("src/index.ts", "export { User, Gone } from './a';"),
        ("src/a.ts", "export * from './b';\nexport interface User {}"),
        ("src/b.ts", "export * from './a';\nexport { Gone } from './a';"),
    ]);
    assert!(!code(&project.graph(), "src/index.ts").contains("User"));
}

#[test]
fn a_dropped_type_keeps_the_places_of_the_lines_after_it() {
    let text = "export { User, Color } from './types';\nexport function fail() { throw new Error('x'); }";
    let project = Project::new([("src/index.ts", text), ("src/types.ts", TYPES)]);
    let graph = project.graph();
    let compiled = module(&graph, "src/index.ts").as_javascript().expect("code");
    let line = compiled.lines().position(|line| line.contains("throw")).expect("it is there");
    let generated = crate::Position { line: u32::try_from(line).expect("few lines") + 1, column: 5 };
    let original = graph.original_position(&graph.main, generated).expect("it is mapped");
    assert_eq!(original.position.line, 2);
}

#[test]
fn a_later_block_of_a_namespace_sees_what_an_earlier_one_exports() {
    let code = compiled(
        "export namespace S { export const a = 1; export function f() { return 1 } export let changing = 1; }
         export namespace S { export const b = a + f() + S.changing; export namespace T { export const x = 2 } }
         export namespace S { const a = 5; export const d = a + T.x; }",
    );
    assert!(code.contains("S.a") && code.contains("S.f") && code.contains("S.T"), "{code}");
    let third = code.rsplit("function").next().expect("three blocks");
    assert!(!third.contains("= S.a"), "a block's own name comes first: {code}");
}
