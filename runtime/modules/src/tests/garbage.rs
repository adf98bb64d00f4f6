use std::path::Path;

use proptest::prelude::*;

use crate::tests::Project;
use crate::{CodeFrame, FramePlace, FrameStyle, Position, PositionRange, SourceMap, render_code_frame};

/// Pieces that look like code more often than random characters do.
fn code_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "import ",
            "export ",
            "default ",
            "from ",
            "'./a'",
            "\"x\"",
            "{",
            "}",
            "(",
            ")",
            "<",
            ">",
            "</",
            "/>",
            "=>",
            "=",
            "class ",
            "enum ",
            "namespace ",
            "@d ",
            "async ",
            "await ",
            "function ",
            "let ",
            "a",
            ":",
            ";",
            ",",
            "...",
            "?.",
            "`",
            "${",
            "/",
            "*/",
            "/*",
            "//",
            "\n",
            "\\u{",
            "#p",
            "\u{2028}",
            "😀",
            "type ",
            "declare ",
            "abstract ",
            "import(",
            "require(",
            "module.exports",
            "[",
            "]",
            "0x",
            "1n",
            "static ",
            "get ",
            "super",
            "new.target",
            "using ",
            "/**/",
            "as ",
            "satisfies ",
            "accessor ",
            "<p>",
            "&nbsp;",
            "import.meta",
            "yield ",
            "!",
            "??=",
            "@jsx h",
            "/** @jsxImportSource x */",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Loading answers one way or the other, and what it says can be printed.
fn load_and_print(files: &[(&str, &str)]) {
    match Project::new(files.iter().copied()).load() {
        Ok(graph) => {
            for module in graph.modules.values() {
                let _ = module.as_javascript();
                let _ = graph.original_position(&module.url, Position { line: 1, column: 1 });
            }
        }
        Err(errors) => {
            assert!(!errors.diagnostics.is_empty());
            for problem in &errors.diagnostics {
                assert!(problem.render(FrameStyle::Coloured).contains("error"));
                assert!(!problem.message.contains("the compiler failed"), "{}: {files:?}", problem.message);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_loads_or_is_reported(text in code_like()) {
        load_and_print(&[("src/index.ts", &text)]);
        load_and_print(&[("src/index.ts", "import './a'"), ("src/a.tsx", &text)]);
        load_and_print(&[("src/index.ts", "import './a'"), ("src/a.js", &text)]);
        load_and_print(&[("src/index.ts", "import './a.json'"), ("src/a.json", &text)]);
        load_and_print(&[("src/index.ts", ""), ("tsconfig.json", &text)]);
    }

    #[test]
    fn any_specifier_resolves_or_is_reported(specifier in "[./@#:%a\\\\\\PC]{0,12}", package in "\\PC{0,60}") {
        let main = format!("import {}", serde_json::Value::from(&*specifier));
        load_and_print(&[("src/index.ts", &main), ("node_modules/a/package.json", &package)]);
        let graph = Project::new([("src/index.ts", "")]).graph();
        if let Ok(url) = graph.resolve(&specifier, &graph.main) {
            let path = url.to_file_path().unwrap_or_default();
            prop_assert!(url.scheme() != "file" || path.starts_with("/app"), "{url}");
        }
    }

    #[test]
    fn any_frame_can_be_drawn(source in "\\PC{0,40}(\n\\PC{0,20}){0,4}", line in 0u32..9, column in 0u32..60, end_line in 0u32..9, end_column in 0u32..60) {
        let range = PositionRange { start: Position { line, column }, end: Position { line: end_line, column: end_column } };
        let frame = CodeFrame { message: &source, file: &source, place: Some(FramePlace { source: &source, range }), hint: Some(&source) };
        prop_assert!(render_code_frame(&frame, FrameStyle::Plain).starts_with("error: "));
    }

    #[test]
    fn any_source_map_answers(json in "\\PC{0,80}", mappings in "[A-Za-z0-9+/;,]{0,40}", line in any::<u32>(), column in any::<u32>()) {
        for json in [json, format!(r#"{{"version":3,"sources":["a"],"names":[],"mappings":"{mappings}"}}"#)] {
            let _ = SourceMap::new(json.into()).original_position(Position { line, column });
        }
    }
}

#[test]
fn source_that_nests_deeply_is_compiled_or_reported() {
    for depth in [100, 2_000] {
        let arrays = format!("export default {}1{};", "[".repeat(depth), "]".repeat(depth));
        let parentheses = format!("export default {}1{};", "(".repeat(depth), ")".repeat(depth));
        let blocks = format!("{}{}", "if (1) {".repeat(depth), "}".repeat(depth));
        let sum = format!("export default 1{};", " + 1".repeat(depth));
        let unfinished = "(".repeat(depth);
        for text in [arrays, parentheses, blocks, sum, unfinished] {
            load_and_print(&[("src/index.ts", &text)]);
        }
    }
}

#[test]
fn a_file_may_not_be_text_at_all() {
    for name in ["a.ts", "a.js", "a.json", "a.txt"] {
        let project = Project::new([]);
        project.files.write("/app/src/index.ts", format!("import './{name}'"));
        project.files.write(Path::new("/app/src").join(name), [0xff, 0xfe, 0x00, 0x80]);
        assert!(project.problem().message.contains("not UTF-8"));
    }
}
