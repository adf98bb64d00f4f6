//! The columns of statements that an isolate runs again and again, as JavaScript knows them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

use deno_core::v8;
use deno_error::JsErrorBox;

use super::string;

/// The columns of an isolate's results.
#[derive(Clone, Default)]
pub(super) struct Columns(Rc<RefCell<HashMap<usize, Known>>>);

/// What JavaScript gets of the columns of a result.
pub(super) struct ColumnsInV8<'a> {
    /// Their names. JavaScript must not change it.
    pub(super) names: v8::Local<'a, v8::Array>,
    /// `(names, cells, start) => row`, once they were seen often enough; until then `undefined`.
    pub(super) to_row: v8::Local<'a, v8::Value>,
}

struct Known {
    /// Keeps the names at their address, which is the key.
    _names: Arc<[String]>,
    array: v8::Global<v8::Array>,
    seen: u32,
    to_row: Option<v8::Global<v8::Function>>,
}

/// Of how many lists of columns something is kept.
const KNOWN: usize = 500;

/// How often columns are seen until their function is compiled, which takes as long as making some hundred rows without.
const OFTEN: u32 = 8;

/// With more columns than this, rows are made by the function for all.
const WIDE: usize = 100;

impl Columns {
    pub(super) fn in_v8<'a>(
        &self,
        scope: &mut v8::PinScope<'a, '_>,
        names: &Arc<[String]>,
    ) -> Result<ColumnsInV8<'a>, JsErrorBox> {
        let undefined = v8::undefined(scope).into();
        if names.is_empty() {
            return Ok(ColumnsInV8 { names: v8::Array::new(scope, 0), to_row: undefined });
        }
        let mut known = self.0.borrow_mut();
        let address = names.as_ptr().addr();
        if let Some(known) = known.get_mut(&address) {
            let array = v8::Local::new(scope, &known.array);
            if let Some(to_row) = &known.to_row {
                return Ok(ColumnsInV8 { names: array, to_row: v8::Local::new(scope, to_row).into() });
            }
            known.seen += 1;
            if known.seen == OFTEN && names.len() <= WIDE {
                known.to_row = compile(scope, array).map(|to_row| v8::Global::new(scope, to_row));
            }
            return Ok(ColumnsInV8 { names: array, to_row: undefined });
        }
        let mut strings = Vec::with_capacity(names.len());
        for name in names.iter() {
            strings.push(string(scope, name, v8::NewStringType::Internalized)?.into());
        }
        let array = v8::Array::new_with_elements(scope, &strings);
        if known.len() >= KNOWN {
            known.clear();
        }
        let kept = v8::Global::new(scope, array);
        known.insert(address, Known { _names: Arc::clone(names), array: kept, seen: 1, to_row: None });
        Ok(ColumnsInV8 { names: array, to_row: undefined })
    }
}

/// A function that makes a row with these columns in one go: V8 knows the shape of an object literal beforehand, and defines its
/// properties where an assignment would call a setter. `None` when V8 does not compile it, which leaves rows to the function for all.
fn compile<'a>(
    scope: &mut v8::PinScope<'a, '_>,
    names: v8::Local<'a, v8::Array>,
) -> Option<v8::Local<'a, v8::Function>> {
    let mut text = String::from("return {");
    for index in 0..names.length() {
        let name = names.get_index(scope, index)?;
        // As JSON a name is a literal of JavaScript, whatever is in it.
        let literal = v8::json::stringify(scope, name)?.to_rust_string_lossy(scope);
        // In brackets this is a name like others.
        let name = if literal == "\"__proto__\"" { "[\"__proto__\"]" } else { &literal };
        write!(text, "{name}: cells[start + {index}], ").ok()?;
    }
    text.push('}');
    let text = v8::String::new(scope, &text)?;
    let arguments = ["names", "cells", "start"].map(|name| v8::String::new(scope, name));
    let [Some(names), Some(cells), Some(start)] = arguments else { return None };
    let options = (v8::script_compiler::CompileOptions::NoCompileOptions, v8::script_compiler::NoCacheReason::NoReason);
    let mut source = v8::script_compiler::Source::new(text, None);
    v8::script_compiler::compile_function(scope, &mut source, &[names, cells, start], &[], options.0, options.1)
}
