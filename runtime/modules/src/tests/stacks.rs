use crate::tests::{Project, code, module};
use crate::{FrameStyle, Position};

const SOURCE: &str = "interface Env {
  DB: string
}

enum Kind { A, B }

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const kind: Kind = Kind.A;
    throw new Error('boom' + kind);
  },
};
";

fn place_of(text: &str, needle: &str) -> Position {
    Position::of_byte(text, text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}")))
}

#[test]
fn a_place_in_the_stack_leads_to_the_line_that_was_written() {
    let graph = Project::new([("src/index.ts", SOURCE)]).graph();
    let code = code(&graph, "src/index.ts");
    for (runs, written) in [("new Error", "new Error"), ("kind = Kind.A", "kind: Kind = Kind.A"), ("fetch (", "fetch(")]
    {
        let original = graph.original_position(&graph.main, place_of(&code, runs)).expect("it was written");
        assert_eq!(original.position, place_of(SOURCE, written), "{runs}");
        assert_eq!(original.file, "src/index.ts");
    }
}

#[test]
fn an_uncaught_error_is_drawn_in_the_source_that_was_written() {
    let graph = Project::new([("src/index.ts", SOURCE)]).graph();
    let thrown = place_of(&code(&graph, "src/index.ts"), "new Error");
    let place = graph.original_position(&graph.main, thrown).expect("it was written");
    let expected = "error: Uncaught Error: boom0
  --> src/index.ts:10:11
   |
 8 |   async fetch(request: Request, env: Env): Promise<Response> {
 9 |     const kind: Kind = Kind.A;
10 |     throw new Error('boom' + kind);
   |           ^
11 |   },
12 | };";
    assert_eq!(place.render("Uncaught Error: boom0", None, FrameStyle::Plain), expected);
}

#[test]
fn a_file_that_runs_as_it_is_maps_to_itself() {
    let graph = Project::new([("src/index.ts", "import './a.js'"), ("src/a.js", "a;\nb;")]).graph();
    let at = Position { line: 2, column: 1 };
    let place = graph.original_position(&module(&graph, "src/a.js").url, at).expect("the same place");
    assert_eq!((place.position, &*place.source), (at, "a;\nb;"));
}

#[test]
fn characters_outside_of_ascii_keep_the_columns_right() {
    let source = "const s: string = 'ä😀漢'; export default s.length;\n";
    let graph = Project::new([("src/index.ts", source)]).graph();
    let code = code(&graph, "src/index.ts");
    let place = graph.original_position(&graph.main, place_of(&code, "s.length")).expect("it was written");
    assert_eq!(place.position, place_of(source, "s.length"));
}

#[test]
fn places_that_nobody_wrote_lead_nowhere() {
    let graph = Project::new([("src/index.ts", SOURCE)]).graph();
    for at in [Position { line: 0, column: 0 }, Position { line: 999, column: 1 }, Position { line: 1, column: 0 }] {
        assert!(graph.original_position(&graph.main, at).is_none(), "{at:?}");
    }
    let other = "cloudflare:workers".parse().expect("a URL");
    assert!(graph.original_position(&other, Position { line: 1, column: 1 }).is_none());
}

#[test]
fn the_map_is_plain_json_for_the_engine_and_names_the_file_beside_it() {
    let graph = Project::new([("src/index.ts", SOURCE)]).graph();
    let map = module(&graph, "src/index.ts").source_map.clone().expect("TypeScript is compiled");
    let json: serde_json::Value = serde_json::from_str(map.json()).expect("valid JSON");
    assert_eq!((&json["version"], &json["sources"]), (&3.into(), &serde_json::json!(["index.ts"])));
    assert!(!code(&graph, "src/index.ts").contains("sourceMappingURL"));
}
