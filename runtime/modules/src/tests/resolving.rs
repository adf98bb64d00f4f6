use std::path::Path;

use crate::tests::{Project, imported_as, module, paths};
use crate::{Loader, MemoryReader, ModuleKind, ResolveError, Url};

#[test]
fn extensions_may_be_left_out_and_typescript_comes_first() {
    for (present, expected) in [
        (&["a.ts", "a.tsx", "a.js"][..], "src/a.ts"),
        (&["a.tsx", "a.mts", "a.js"], "src/a.tsx"),
        (&["a.mts", "a.js"], "src/a.mts"),
        (&["a.js", "a.mjs"], "src/a.js"),
        (&["a.mjs", "a.jsx"], "src/a.mjs"),
        (&["a.jsx", "a/index.ts"], "src/a.jsx"),
        (&["a/index.ts", "a/index.js"], "src/a/index.ts"),
    ] {
        let files: Vec<(String, &str)> = present.iter().map(|name| (format!("src/{name}"), "")).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(imported_as("./a", &files), expected, "{present:?}");
    }
}

#[test]
fn a_js_specifier_may_mean_a_typescript_file() {
    assert_eq!(imported_as("./a.js", &[("src/a.ts", "")]), "src/a.ts");
    assert_eq!(imported_as("./a.js", &[("src/a.tsx", "")]), "src/a.tsx");
    assert_eq!(imported_as("./a.mjs", &[("src/a.mts", "")]), "src/a.mts");
    assert_eq!(imported_as("./a.jsx", &[("src/a.tsx", "")]), "src/a.tsx");
    assert_eq!(imported_as("./a.js", &[("src/a.ts", ""), ("src/a.js", "")]), "src/a.js");
}

#[test]
fn dots_in_a_name_are_no_extension() {
    assert_eq!(imported_as("./user.model", &[("src/user.model.ts", "")]), "src/user.model.ts");
}

#[test]
fn a_folder_means_its_index_and_a_file_of_the_same_name_wins() {
    let both = [("src/a.ts", ""), ("src/a/index.ts", "")];
    assert_eq!(imported_as("./a", &both), "src/a.ts");
    assert_eq!(imported_as("./a/", &both), "src/a/index.ts");
    assert_eq!(imported_as("..", &[("index.ts", "")]), "index.ts");
}

#[test]
fn shared_files_are_found_from_everywhere() {
    let files = [("shared/db.ts", ""), ("shared/auth/index.ts", "")];
    assert_eq!(imported_as("@shared/db", &files), "shared/db.ts");
    assert_eq!(imported_as("@shared/db.js", &files), "shared/db.ts");
    assert_eq!(imported_as("@shared/auth", &files), "shared/auth/index.ts");
}

#[test]
fn paths_of_tsconfig_are_followed_and_the_longest_pattern_wins() {
    let config = r#"{
        // comments and trailing commas are fine here
        "compilerOptions": { "paths": { "@/*": ["./missing/*", "./src/*"], "@/lib/*": ["./lib/*"], "config": ["./src/c.ts"], } },
    }"#;
    let files = [("tsconfig.json", config), ("src/a.ts", ""), ("lib/b.ts", ""), ("src/c.ts", "")];
    assert_eq!(imported_as("@/a", &files), "src/a.ts");
    assert_eq!(imported_as("@/lib/b", &files), "lib/b.ts");
    assert_eq!(imported_as("config", &files), "src/c.ts");
}

#[test]
fn base_url_of_an_extended_tsconfig_counts() {
    let files = [
        ("tsconfig.json", r#"{"extends": "./config/base"}"#),
        ("config/base.json", r#"{"compilerOptions": {"baseUrl": "../src"}}"#),
        ("src/deep/a.ts", ""),
    ];
    assert_eq!(imported_as("deep/a", &files), "src/deep/a.ts");
}

#[test]
fn aliases_that_leave_the_project_do_not_hide_what_lies_in_it() {
    let config = r#"{"compilerOptions": {"baseUrl": "..", "paths": {"*": ["types/*"], "@lib/*": ["lib/*"]}}}"#;
    let files = [("tsconfig.json", config), ("node_modules/a/index.js", ""), ("shared/b.ts", "")];
    assert_eq!(imported_as("a", &files), "node_modules/a/index.js");
    assert_eq!(imported_as("@shared/b", &files), "shared/b.ts");

    let main = ("src/index.ts", "import '@lib/c'");
    let problem = Project::new(files.into_iter().chain([main])).problem();
    assert_eq!(problem.message, "\"@lib/c\" leads out of the project, to /lib/c");
}

#[test]
fn a_file_url_inside_the_project_is_fine() {
    assert_eq!(imported_as("file:///app/lib/a.ts", &[("lib/a.ts", "")]), "lib/a.ts");
}

#[test]
fn built_in_modules_are_left_alone() {
    assert_eq!(imported_as("cloudflare:workers", &[]), "cloudflare:workers");

    let reader = MemoryReader::new([("/app/index.js", "import '@aerostack/sdk'")]);
    let loader = Loader::new("/app".into(), reader).with_builtins(["@aerostack/sdk"]);
    let graph = loader.load_graph(Path::new("index.js")).expect("the name is built in");
    let url = graph.resolve("@aerostack/sdk", &graph.main).expect("resolved by the load");
    assert_eq!(url.as_str(), "builtin:@aerostack/sdk");
}

#[test]
fn nothing_outside_of_the_project_can_be_imported() {
    for specifier in
        ["../../secret.ts", "/etc/passwd", "file:///etc/passwd", "./../../app2/a.ts", "@shared/../../secret.ts"]
    {
        let main = format!("import \"{specifier}\";");
        let project = Project::new([("src/index.ts", &*main)]);
        project.files.write("/secret.ts", "");
        project.files.write("/etc/passwd", "");
        project.files.write("/app2/a.ts", "");
        let problem = project.problem();
        assert!(problem.message.contains("leads out of the project"), "{specifier}: {}", problem.message);
        assert!(problem.hint.is_some_and(|hint| hint.contains("aerostack.toml")));
        assert_eq!(problem.file, "src/index.ts");
    }
}

#[test]
fn a_link_out_of_the_project_is_not_followed() {
    let project = Project::new([("src/index.ts", "import './out/a'; import './in/b'"), ("lib/b.ts", "")]);
    project.files.write("/elsewhere/a.ts", "export const secret = 1");
    project.files.link("/app/src/out", "/elsewhere");
    project.files.link("/app/src/in", "/app/lib");
    let problem = project.problem();
    assert_eq!(problem.message, "\"./out/a\" leads out of the project, to /elsewhere/a.ts");
}

#[test]
fn a_project_that_is_itself_behind_a_link_loads_under_its_real_path() {
    let reader = MemoryReader::new([("/real/src/index.ts", "import './a'"), ("/real/src/a.ts", "")]);
    reader.link("/link", "/real");
    let loader = Loader::new("/link".into(), reader);
    let graph = loader.load_graph(Path::new("/link/src/index.ts")).expect("the same folder");
    assert_eq!(graph.main.as_str(), "file:///real/src/index.ts");
    assert_eq!(graph.modules.len(), 2);
}

#[test]
fn a_link_to_a_file_loads_once() {
    let project = Project::new([("src/index.ts", "import './a'; import './b'"), ("src/a.ts", "")]);
    project.files.link("/app/src/b.ts", "/app/src/a.ts");
    assert_eq!(paths(&project.graph()), ["src/a.ts", "src/index.ts"]);
}

#[test]
fn modules_of_node_and_of_cloudflare_are_named_as_such() {
    for specifier in ["node:fs", "fs", "crypto"] {
        let main = format!("import \"{specifier}\";");
        let problem = Project::new([("src/index.ts", &*main)]).problem();
        assert_eq!(problem.message, format!("\"{specifier}\" is a module of Node.js, which is not supported yet"));
        assert_eq!(problem.hint.as_deref(), Some("the built-in modules are cloudflare:workers"));
    }
    let problem = Project::new([("src/index.ts", "import 'cloudflare:sockets'")]).problem();
    assert_eq!(problem.message, "\"cloudflare:sockets\" is not supported yet");
}

#[test]
fn remote_modules_are_refused_with_a_way_out() {
    for specifier in ["https://esm.sh/hono", "npm:hono", "jsr:@std/path", "data:text/javascript,1"] {
        let main = format!("import \"{specifier}\";");
        let problem = Project::new([("src/index.ts", &*main)]).problem();
        assert!(problem.message.contains("modules are not loaded from"), "{}", problem.message);
        assert!(problem.hint.is_some());
    }
}

#[test]
fn every_kind_of_file_is_known_by_its_extension() {
    let project = Project::new([
        (
            "src/index.ts",
            "import a from './a.json' with { type: 'json' }; import b from './b.json'; import wasm from './m.wasm?module';
             import t from './t.txt'; import h from './h.html'; import s from './s.sql'; import x from './x.bin';
             export default [a, b, wasm, t, h, s, x];",
        ),
        ("src/a.json", "{\"a\": 1}"),
        ("src/b.json", "[]"),
        ("src/m.wasm", "\0asm"),
        ("src/t.txt", "line\n\"quoted\"\u{2028}"),
        ("src/h.html", "<p>"),
        ("src/s.sql", "SELECT 1"),
        ("src/x.bin", "\u{1}"),
    ]);
    let graph = project.graph();
    let kind = |path: &str| module(&graph, path).kind;
    assert_eq!(kind("src/index.ts"), ModuleKind::JavaScript);
    assert_eq!(kind("src/a.json"), ModuleKind::Json);
    assert_eq!(kind("src/b.json"), ModuleKind::Json);
    assert_eq!(kind("src/m.wasm"), ModuleKind::Wasm);
    assert_eq!(kind("src/t.txt"), ModuleKind::Text);
    assert_eq!(kind("src/h.html"), ModuleKind::Text);
    assert_eq!(kind("src/s.sql"), ModuleKind::Text);
    assert_eq!(kind("src/x.bin"), ModuleKind::Bytes);

    assert_eq!(&*module(&graph, "src/t.txt").original, "line\n\"quoted\"\u{2028}");
    let as_javascript = |path: &str| module(&graph, path).as_javascript();
    assert_eq!(as_javascript("src/t.txt").as_deref(), Some("export default \"line\\n\\\"quoted\\\"\u{2028}\";\n"));
    assert_eq!(as_javascript("src/a.json").as_deref(), Some("export default JSON.parse(\"{\\\"a\\\": 1}\");\n"));
    assert_eq!(as_javascript("src/m.wasm"), None);
    assert_eq!(module(&graph, "src/m.wasm").code.as_bytes(), b"\0asm");
}

#[test]
fn a_file_that_is_no_module_is_refused_where_it_is_imported() {
    let frame = Project::new([("src/index.ts", "import logo from './logo.png';\nlogo;"), ("src/logo.png", "")]).frame();
    assert!(frame.starts_with("error: cannot import \"./logo.png\": src/logo.png is no kind of module"), "{frame}");
    assert!(frame.contains("--> src/index.ts:1:18"), "{frame}");
}

#[test]
fn a_name_made_up_at_run_time_follows_the_same_rules() {
    let project = Project::new([("src/index.ts", ""), ("src/pages/home.ts", "")]);
    let graph = project.graph();
    let url = graph.resolve("./pages/home", &graph.main).expect("there is such a file");
    assert_eq!(url.as_str(), "file:///app/src/pages/home.ts");
    assert!(graph.module(&url).is_none(), "it was not reachable by a literal");
    assert!(matches!(graph.resolve("./pages/none", &graph.main), Err(ResolveError::NotFound { .. })));
    assert!(matches!(graph.resolve("../../x", &graph.main), Err(ResolveError::OutsideProject { .. })));

    let from_builtin = Url::parse("cloudflare:workers").expect("a URL");
    assert!(graph.resolve("./src/index.ts", &from_builtin).is_ok());
    assert_eq!(graph.files().filter(|path| path.ends_with("none")).count(), 0, "only the load is watched");
}

#[test]
fn the_main_file_may_be_named_without_its_extension_and_absolutely() {
    let project = Project::new([("src/index.ts", "")]);
    for main in ["src/index.ts", "src/index", "./src", "/app/src/index.ts"] {
        let graph = project.loader.load_graph(Path::new(main)).unwrap_or_else(|errors| panic!("{main}: {errors}"));
        assert_eq!(graph.main.as_str(), "file:///app/src/index.ts");
    }
}

#[test]
fn an_alias_of_the_config_stands_for_a_specifier_and_what_is_below_it() {
    let project = Project::new([
        ("src/index.ts", "import 'old'; import 'old/deep/part'; import 'older'; import './deep/user';"),
        ("src/deep/user.ts", "import 'shim';"),
        ("lib/new/index.ts", ""),
        ("lib/new/deep/part.ts", ""),
        ("lib/shim.ts", ""),
        ("node_modules/older/index.js", ""),
    ]);
    let aliases = [("old", "./lib/new"), ("shim", "./lib/shim.ts")].map(|(from, to)| (from.to_owned(), to.to_owned()));
    let graph = project.loader.load_graph_with(Path::new("src/index.ts"), &aliases).expect("it loads");
    let expected = [
        "lib/new/deep/part.ts",
        "lib/new/index.ts",
        "lib/shim.ts",
        "node_modules/older/index.js",
        "src/deep/user.ts",
        "src/index.ts",
    ];
    assert_eq!(paths(&graph), expected);
}

#[test]
fn a_module_is_known_to_code_by_a_url_that_tells_nothing_of_the_machine_and_leads_back() {
    let graph = Project::new([("src/index.ts", "import './a b.ts';"), ("src/a b.ts", "")]).graph();
    let url = module(&graph, "src/a b.ts").url.clone();
    let shown = graph.bundle_url(&url).expect("it is of the project");
    assert_eq!(shown.as_str(), "file:///bundle/src/a%20b.ts");
    assert_eq!(graph.resolve(shown.as_str(), &graph.main).expect("it is found"), url);
    assert!(graph.resolve("file:///bundle/../etc/passwd", &graph.main).is_err());
}

#[test]
fn an_import_attribute_makes_text_or_bytes_of_any_file_and_an_unknown_one_is_refused() {
    let text = "import a from './a.md' with { type: 'text' };
                import b from './b.svg' with { type: 'bytes' };
                export const c = () => [a, b, import('./c.md', { with: { type: 'text' } })];";
    let project =
        Project::new([("src/index.ts", text), ("src/a.md", "# a"), ("src/b.svg", "<svg/>"), ("src/c.md", "# c")]);
    let graph = project.graph();
    assert_eq!(module(&graph, "src/a.md").kind, ModuleKind::Text);
    assert_eq!(module(&graph, "src/b.svg").kind, ModuleKind::Bytes);
    assert_eq!(module(&graph, "src/c.md").code.as_bytes(), b"# c");
    let project =
        Project::new([("src/index.ts", "import a from './a.css' with { type: 'css' }; a;"), ("src/a.css", "")]);
    let frame = project.frame();
    assert!(
        frame.contains("import attribute type \"css\" is not supported") && frame.contains("src/index.ts:1:15"),
        "{frame}"
    );
}
