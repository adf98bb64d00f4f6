//! The part of a JSON Schema that can be kept to while an answer is made.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// A shape among [`Shapes`].
pub(super) type ShapeId = usize;

/// The shape that any value has.
pub(super) const ANY: ShapeId = 0;

/// More properties than fit the set of those already written are not kept to.
const MAX_PROPERTIES: usize = 64;

/// Shapes that refer to each other.
#[derive(Debug)]
pub(in super::super) struct Shapes {
    all: Vec<Shape>,
    /// That of the whole answer.
    pub(super) root: ShapeId,
}

/// What a value looks like.
#[derive(Debug)]
pub(super) enum Shape {
    Any,
    String,
    Number,
    Integer,
    /// These very bytes.
    Literal(Box<[u8]>),
    Object(ObjectShape),
    Array {
        items: ShapeId,
        least: usize,
        most: usize,
    },
    OneOf(Vec<ShapeId>),
}

#[derive(Debug)]
pub(super) struct ObjectShape {
    /// Each key as JSON, with its quotes, and the shape of its value.
    pub(super) properties: Vec<(Box<[u8]>, ShapeId)>,
    /// The properties that must be there, one bit each.
    pub(super) required: u64,
    /// Whether any key may come, with a value of this shape.
    pub(super) others: Option<ShapeId>,
}

impl Shapes {
    /// Any JSON object.
    pub(in super::super) fn object() -> Self {
        Self { all: vec![Shape::Any, any_object()], root: 1 }
    }

    /// What a JSON Schema describes, as far as it can be kept to.
    pub(in super::super) fn of_schema(schema: &Value) -> Self {
        let mut compiler = Compiler { all: vec![Shape::Any], document: schema, references: HashMap::new() };
        let root = compiler.shape(schema);
        Self { all: compiler.all, root }
    }

    pub(super) fn get(&self, id: ShapeId) -> &Shape {
        &self.all[id]
    }
}

fn any_object() -> Shape {
    Shape::Object(ObjectShape { properties: Vec::new(), required: 0, others: Some(ANY) })
}

struct Compiler<'a> {
    all: Vec<Shape>,
    document: &'a Value,
    references: HashMap<String, ShapeId>,
}

impl Compiler<'_> {
    fn add(&mut self, shape: Shape) -> ShapeId {
        self.all.push(shape);
        self.all.len() - 1
    }

    fn shape(&mut self, schema: &Value) -> ShapeId {
        let Value::Object(schema) = schema else { return ANY };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(reference);
        }
        if let Some(value) = schema.get("const") {
            return self.literal(value);
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            let literals = values.iter().map(|value| self.literal(value)).collect();
            return self.add(Shape::OneOf(literals));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = schema.get(key) {
                let choices = choices.iter().map(|choice| self.shape(choice)).collect();
                return self.add(Shape::OneOf(choices));
            }
        }
        if let Some(Value::Array(parts)) = schema.get("allOf") {
            // Several parts would have to be met at once; that is left to the check of the whole answer.
            return if let [part] = &parts[..] { self.shape(part) } else { ANY };
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.typed(name, schema),
            Some(Value::Array(names)) => {
                let choices = names.iter().filter_map(Value::as_str).map(|name| self.typed(name, schema)).collect();
                self.add(Shape::OneOf(choices))
            }
            _ if schema.contains_key("properties") => self.typed("object", schema),
            _ if schema.contains_key("items") => self.typed("array", schema),
            _ => ANY,
        }
    }

    fn typed(&mut self, name: &str, schema: &Map<String, Value>) -> ShapeId {
        let shape = match name {
            "string" => Shape::String,
            "number" => Shape::Number,
            "integer" => Shape::Integer,
            "null" => Shape::Literal((*b"null").into()),
            "boolean" => {
                let both = vec![self.literal(&Value::Bool(true)), self.literal(&Value::Bool(false))];
                Shape::OneOf(both)
            }
            "array" => {
                let bound =
                    |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
                let items = if schema.contains_key("prefixItems") {
                    ANY
                } else {
                    schema.get("items").map_or(ANY, |items| self.shape(items))
                };
                Shape::Array {
                    items,
                    least: bound("minItems").unwrap_or(0),
                    most: bound("maxItems").unwrap_or(usize::MAX),
                }
            }
            "object" => self.object(schema),
            _ => return ANY,
        };
        self.add(shape)
    }

    fn object(&mut self, schema: &Map<String, Value>) -> Shape {
        let Some(Value::Object(properties)) = schema.get("properties") else {
            let others = match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => None,
                Some(others) => Some(self.shape(others)),
                None => Some(ANY),
            };
            return Shape::Object(ObjectShape { properties: Vec::new(), required: 0, others });
        };
        // A schema that names properties and says that there may be others would make every key possible; then all of it is left
        // to the check of the whole answer.
        let closed = matches!(schema.get("additionalProperties"), None | Some(Value::Bool(false)));
        if !closed || properties.len() > MAX_PROPERTIES {
            return any_object();
        }
        let names: Vec<&String> = properties.keys().collect();
        let mut required = 0;
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            match names.iter().position(|known| *known == name) {
                Some(at) => required |= 1 << at,
                // Required, but nothing is said of it: only an open object can have it.
                None => return any_object(),
            }
        }
        let properties = properties
            .iter()
            .map(|(name, schema)| {
                (Value::String(name.clone()).to_string().into_bytes().into_boxed_slice(), self.shape(schema))
            })
            .collect();
        Shape::Object(ObjectShape { properties, required, others: None })
    }

    fn literal(&mut self, value: &Value) -> ShapeId {
        self.add(Shape::Literal(value.to_string().into_bytes().into_boxed_slice()))
    }

    fn reference(&mut self, reference: &str) -> ShapeId {
        if let Some(id) = self.references.get(reference) {
            return *id;
        }
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer)) else {
            return ANY;
        };
        // Known before it is looked into, because it may refer to itself.
        let id = self.add(Shape::OneOf(Vec::new()));
        self.references.insert(reference.to_owned(), id);
        let target = self.shape(target);
        self.all[id] = if target == id { Shape::Any } else { Shape::OneOf(vec![target]) };
        id
    }
}
