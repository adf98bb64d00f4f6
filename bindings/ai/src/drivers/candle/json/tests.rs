use serde_json::{Value, json};

use super::*;

fn accepts(shapes: &Arc<Shapes>, text: &str) -> bool {
    let mut state = JsonState::new(Arc::clone(shapes));
    state.take(text.as_bytes()) && state.may_end()
}

fn of_schema(schema: &Value) -> Arc<Shapes> {
    Arc::new(Shapes::of_schema(schema))
}

#[test]
fn an_object_of_any_kind_is_read_to_its_end() {
    let shapes = Arc::new(Shapes::object());
    for text in [
        "{}",
        "{ }",
        "{\"a\":1}",
        "{\"a\": [1, -2.5e+3, 0, \"x\\n\\u00e9\u{e9}\u{1f600}\", true, false, null, {}, []],\n  \"b\" : {\"c\":{}} }",
    ] {
        assert!(accepts(&shapes, text), "{text}");
        let mut state = JsonState::new(Arc::clone(&shapes));
        assert!(state.take(text.as_bytes()) && state.is_over() && !state.allows(b" "));
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    let shapes = Arc::new(Shapes::object());
    for text in [
        "",
        "[]",
        "1",
        "\"a\"",
        " {}",
        "{",
        "{a:1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":-}",
        "{\"a\":tru}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{} {}",
        "{\"a\" 1}",
        "{'a':1}",
    ] {
        assert!(!accepts(&shapes, text), "{text}");
    }
    let mut state = JsonState::new(shapes);
    assert!(!state.take(b"{\"a\":\"\xff"));
}

#[test]
fn blanks_and_depth_have_an_end() {
    let shapes = Arc::new(Shapes::object());
    assert!(accepts(&shapes, &format!("{{{}}}", " ".repeat(20))));
    assert!(!accepts(&shapes, &format!("{{{}}}", " ".repeat(200))));
    assert!(!accepts(&shapes, &format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100))));
}

#[test]
fn a_schema_decides_keys_types_and_what_must_be_there() {
    let shapes = of_schema(&json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "score": {"type": ["number", "null"]},
            "kind": {"enum": ["cat", "car", 3]},
            "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        },
        "required": ["name", "age"],
    }));
    for text in [
        "{\"name\":\"a\",\"age\":3}",
        "{\"age\":3,\"name\":\"\"}",
        "{\"age\":3,\"name\":\"a\",\"score\":null,\"kind\":\"car\",\"tags\":[true,false]}",
        "{\"age\":3,\"name\":\"a\",\"score\":1.5,\"kind\":3}",
    ] {
        assert!(accepts(&shapes, text), "{text}");
    }
    for text in [
        "{}",
        "{\"name\":\"a\"}",
        "{\"name\":\"a\",\"age\":3.5}",
        "{\"name\":\"a\",\"age\":3,\"name\":\"b\"}",
        "{\"name\":\"a\",\"age\":3,\"other\":1}",
        "{\"name\":1,\"age\":3}",
        "{\"name\":\"a\",\"age\":3,\"kind\":\"cow\"}",
        "{\"name\":\"a\",\"age\":3,\"tags\":[]}",
        "{\"name\":\"a\",\"age\":3,\"tags\":[true,true,true]}",
        "{\"name\":\"a\",\"age\":3,\"tags\":[1]}",
    ] {
        assert!(!accepts(&shapes, text), "{text}");
    }
}

#[test]
fn choices_are_followed_at_once() {
    let shapes = of_schema(&json!({"anyOf": [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "required": ["a", "b"]},
        {"type": "integer"},
    ]}));
    for text in ["{\"a\":\"x\"}", "{\"a\":1,\"b\":null}", "12", "-3"] {
        assert!(accepts(&shapes, text), "{text}");
    }
    for text in ["{\"a\":1}", "{\"a\":\"x\",\"b\":null}", "1.5", "true"] {
        assert!(!accepts(&shapes, text), "{text}");
    }
}

#[test]
fn a_schema_may_refer_to_itself() {
    let shapes = of_schema(&json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"]}},
    }));
    assert!(accepts(&shapes, "{\"next\":{\"next\":null}}"));
    assert!(!accepts(&shapes, "{\"next\":{\"next\":{}}}"));
    // What refers to nothing but itself says nothing.
    assert!(accepts(&of_schema(&json!({"$ref": "#"})), "1"));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_read(value in value(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("JSON");
            let shapes = of_schema(&json!({}));
            prop_assert!(accepts(&shapes, &text), "{}", text);
        }

        #[test]
        fn what_is_read_is_json(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:0123456789.-eE+ truefalsn\\u\xc3\xa9a".to_vec()), 0..24)) {
            let mut state = JsonState::new(of_schema(&json!({})));
            let read = state.take(&bytes) && state.may_end();
            prop_assert_eq!(read, serde_json::from_slice::<Value>(&bytes).is_ok() && !bytes.starts_with(b" ") && !bytes.ends_with(b" "));
        }

        #[test]
        fn refusing_never_depends_on_how_bytes_come(text in "[{}\\[\\]\",:0-9a ]{0,16}", cut in 0usize..16) {
            let shapes = Arc::new(Shapes::object());
            let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
            let mut pieces = JsonState::new(Arc::clone(&shapes));
            let in_pieces = pieces.take(first) && pieces.take(second);
            prop_assert_eq!(in_pieces, JsonState::new(shapes).take(text.as_bytes()));
        }
    }
}
