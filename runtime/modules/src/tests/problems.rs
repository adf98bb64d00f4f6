use std::path::{Path, PathBuf};

use crate::tests::Project;
use crate::{DiagnosticKind, FrameStyle};

#[test]
fn a_syntax_error_prints_file_line_column_and_a_frame() {
    let frame =
        Project::new([("src/index.ts", "const a: number = 1\nexport default {\n  fetch( { return a }\n}\n")]).frame();
    assert!(frame.starts_with("error: "), "{frame}");
    assert!(frame.contains("--> src/index.ts:"), "{frame}");
    assert!(frame.contains("  fetch( { return a }"), "{frame}");
    assert!(frame.contains('^'), "{frame}");
}

#[test]
fn a_missing_import_prints_file_line_column_and_what_was_meant() {
    let project =
        Project::new([("src/index.ts", "const a = 1;\n\timport { handler } from './handlr';\nhandler(a);\n")]);
    let frame = project.frame();
    assert!(frame.contains("= hint: looked for src/handlr, with .ts"), "{frame}");

    project.files.write("/app/src/handler.ts", "");
    project.files.write("/app/src/other.ts", "");
    let expected = "error: cannot find module \"./handlr\"
 --> src/index.ts:2:26
  |
1 | const a = 1;
2 |     import { handler } from './handlr';
  |                             ^^^^^^^^^^
3 | handler(a);
  = hint: did you mean \"./handler\"?";
    assert_eq!(project.frame(), expected);
}

#[test]
fn all_problems_are_reported_at_once() {
    let project = Project::new([
        ("src/index.ts", "import './a'; import './gone'; import 'nope'; import './c.json'; import './old'"),
        ("src/a.ts", "import './gone-too';\nlet x: = 1"),
        ("src/c.json", "{\n  \"a\": 1,\n}"),
        ("src/old.js", "const x = 1;\nmodule.exports = x"),
    ]);
    let errors = project.errors();
    let places: Vec<String> =
        errors.diagnostics.iter().map(|problem| format!("{:?} {}", problem.kind, problem.location())).collect();
    assert_eq!(
        places,
        [
            "Import src/index.ts:1:22",
            "Import src/index.ts:1:39",
            "Syntax src/a.ts:2:8",
            "Syntax src/c.json:3:1",
            "CommonJs src/old.js:2:1",
        ]
    );
    assert_eq!(errors.to_string().matches("error: ").count(), 5);
    assert_eq!(errors.render(FrameStyle::Plain), errors.to_string());
}

#[test]
fn what_the_engine_would_refuse_is_found_before_it_runs() {
    for (text, place) in [
        ("function f() { await g() }\nfunction g() {}", "src/index.ts:1:16"),
        ("export const a = 1\nwith (a) {}", "src/index.ts:2:1"),
        ("let x = 08;", "src/index.ts:1:9"),
        ("a: { a: { } }", "src/index.ts:1:6"),
        ("export default { fetch() { return new Response('x) } }", "src/index.ts:1:48"),
    ] {
        let problem = Project::new([("src/index.ts", text)]).problem();
        assert_eq!(problem.kind, DiagnosticKind::Syntax, "{text}");
        assert_eq!(problem.location(), place, "{text}: {}", problem.message);
        assert!(!problem.message.starts_with(char::is_uppercase), "{}", problem.message);
    }
}

#[test]
fn what_only_a_type_checker_minds_runs() {
    for text in [
        "class A { constructor(readonly x) { } }\nabstract class B { abstract a(): void }",
        "const a: string = 1;",
        "export class A { a?: string; declare b: number; override c() {} }",
        "function f(a: string): void;\nfunction f(a: number): void;\nfunction f(a: unknown) {}\nexport { f }",
        "export default function f(a: string): void;\nexport default function f(a: unknown) {}",
        "interface A {}\ninterface A { b: 1 }\nexport type { A };\nexport const A = 1",
        "export type A = 1;\nexport const B: A = 1 as const;\nexport { type A as C }",
        "await using a = null as any;\nusing b = null;",
    ] {
        Project::new([("src/index.ts", text)]).graph();
    }
}

#[test]
fn commonjs_in_the_users_own_files_is_shown_where_it_is_written() {
    for (name, text, place) in [
        ("a.js", "const a = require('./b');", "src/a.js:1:11"),
        ("a.ts", "const a = 1;\nexport = a;", "src/a.ts:2:1"),
        ("a.ts", "import b = require('./b');\nexport const c = b;", "src/a.ts:1:12"),
        ("a.cjs", "", "src/index.ts:1:8"),
    ] {
        let main = format!("import './{name}'");
        let path = format!("src/{name}");
        let problem = Project::new([("src/index.ts", &*main), (&*path, text)]).problem();
        assert_eq!((problem.kind, problem.location()), (DiagnosticKind::CommonJs, place.to_owned()));
        assert!(problem.hint.is_some_and(|hint| hint.contains("`export`")));
    }
}

#[test]
fn jsx_without_its_runtime_says_how_to_choose_one() {
    let problem = Project::new([("src/index.ts", "import './a'"), ("src/a.tsx", "export const a = <p/>")]).problem();
    assert_eq!(problem.message, "package \"react\" is not installed");
    assert_eq!(problem.location(), "src/a.tsx");
    assert!(problem.hint.is_some_and(|hint| hint.contains("\"jsxImportSource\": \"hono/jsx\"")));
}

#[test]
fn a_file_that_is_not_utf8_is_named() {
    let project = Project::new([("src/index.ts", "import './a'")]);
    project.files.write("/app/src/a.ts", b"const a = '\xff'");
    let problem = project.problem();
    assert_eq!(problem.message, "cannot read src/a.ts: not UTF-8 text (byte 11 is not valid)");
    assert_eq!(problem.kind, DiagnosticKind::Read);
}

#[test]
fn a_broken_tsconfig_is_shown_and_the_sources_are_checked_all_the_same() {
    let project = Project::new([
        ("src/index.ts", "import './gone'"),
        ("tsconfig.json", "{\n  \"compilerOptions\": {\n    \"jsx\": 1\n  }\n}"),
    ]);
    let errors = project.errors();
    assert_eq!(errors.diagnostics.len(), 2, "{errors}");
    assert_eq!(errors.diagnostics[0].kind, DiagnosticKind::Configuration);
    assert!(errors.diagnostics[0].location().starts_with("tsconfig.json:3:"), "{errors}");

    let unfinished = Project::new([("src/index.ts", ""), ("tsconfig.json", "{ \"extends\": ")]).problem();
    assert!(unfinished.location().starts_with("tsconfig.json:1:"), "{}", unfinished.render(FrameStyle::Plain));
}

#[test]
fn a_tsconfig_that_extends_itself_or_a_missing_file_is_a_problem() {
    let files = [("src/index.ts", ""), ("tsconfig.json", r#"{"extends": "./tsconfig.json"}"#)];
    assert!(Project::new(files).problem().message.contains("cannot be found"));
    let problem = Project::new([("src/index.ts", ""), ("tsconfig.json", r#"{"extends": "./gone.json"}"#)]).problem();
    assert_eq!(problem.location(), "tsconfig.json:1:14");
}

#[test]
fn a_missing_main_file_is_a_problem_that_creating_it_mends() {
    let project = Project::new([]);
    let errors = project.errors();
    assert_eq!(errors.diagnostics[0].message, "cannot find the worker's main file src/index.ts");
    assert!(errors.files().any(|path| path == Path::new("/app/src/index.ts")));
}

#[test]
fn a_main_file_outside_of_the_project_is_refused() {
    let project = Project::new([]);
    project.files.write("/other/index.ts", "");
    let errors = project.loader.load_graph(Path::new("../other/index.ts")).expect_err("it is outside");
    assert!(errors.to_string().contains("leads out of the project"), "{errors}");
}

#[test]
fn files_looked_for_in_vain_are_watched_too() {
    let project = Project::new([("src/index.ts", "import './a'"), ("src/a.js", "")]);
    let graph = project.graph();
    let watched: Vec<PathBuf> = graph.files().map(Path::to_path_buf).collect();
    for path in ["/app/src/index.ts", "/app/src/a.js", "/app/src/a.ts", "/app/tsconfig.json"] {
        assert!(watched.contains(&PathBuf::from(path)), "{path} in {watched:?}");
    }
    let missing: Vec<&Path> = graph.missing_files().collect();
    assert!(missing.contains(&Path::new("/app/src/a.ts")) && !missing.contains(&Path::new("/app/src/a.js")));

    let errors = Project::new([("src/index.ts", "import './gone'; import 'zod'")]).errors();
    let watched: Vec<&Path> = errors.files().collect();
    for path in ["/app/src/index.ts", "/app/src/gone.ts", "/app/src/gone/index.ts", "/app/node_modules/zod"] {
        assert!(watched.contains(&Path::new(path)), "{path} in {watched:?}");
    }
}
