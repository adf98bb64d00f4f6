//! What leaves V8 of a value that was thrown.
//!
//! A message may have half a billion characters, and a description of it is copied half a dozen times on its way to the log and to the
//! client. What is too long is cut while it is still V8's, where a limit holds.

use deno_core::error::JsError;
use deno_core::v8;

/// Characters that are kept of a message, a name or a stack, and of all of one description together. Whatever came before, a
/// text keeps a few.
const MOST_CHARACTERS: usize = 16 * 1024;
const MOST_CHARACTERS_TOGETHER: usize = 128 * 1024;
const FEW_CHARACTERS: usize = 100;

/// As many as deno_core describes: errors, their causes, and those that an `AggregateError` holds.
const MOST_ERRORS: usize = 256;
const MOST_DEEP: usize = 32;

/// Describes a value that was thrown. Reads `error.stack`, which may run user code. Of an error whose texts are too long the beginnings
/// are left, to whoever holds it as well.
pub fn describe_thrown<'s>(scope: &mut v8::PinScope<'s, '_>, thrown: v8::Local<'s, v8::Value>) -> Box<JsError> {
    let mut left = Left { errors: MOST_ERRORS, characters: MOST_CHARACTERS_TOGETHER };
    let thrown = shortened(scope, thrown, 0, &mut left);
    JsError::from_v8_exception(scope, thrown)
}

/// What a description may still hold.
struct Left {
    errors: usize,
    characters: usize,
}

/// The value, or one in its place whose texts are short enough.
fn shortened<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    thrown: v8::Local<'s, v8::Value>,
    depth: usize,
    left: &mut Left,
) -> v8::Local<'s, v8::Value> {
    if left.errors == 0 || depth > MOST_DEEP {
        return thrown;
    }
    left.errors -= 1;
    if thrown.is_native_error()
        && let Ok(error) = v8::Local::<v8::Object>::try_from(thrown)
    {
        return shortened_error(scope, error, depth, left);
    }
    if let Ok(text) = v8::Local::<v8::String>::try_from(thrown) {
        return shortened_text(scope, text, left).map_or(thrown, Into::into);
    }
    // What V8 says of it is made from names, which may be long too.
    let message = v8::Exception::create_message(scope, thrown).get(scope);
    shortened_text(scope, message, left).map_or(thrown, Into::into)
}

fn shortened_error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Object>,
    depth: usize,
    left: &mut Left,
) -> v8::Local<'s, v8::Value> {
    // The stack comes last: V8 puts it together when it is first read, from the other two.
    for name in ["name", "message", "stack"] {
        let key = key(scope, name);
        let Some(text) = get(scope, error, key).and_then(|value| v8::Local::<v8::String>::try_from(value).ok()) else {
            continue;
        };
        let Some(short) = shortened_text(scope, text, left) else { continue };
        if !define(scope, error, key, short.into()) {
            // It is frozen: another says what it says.
            return v8::Exception::error(scope, short);
        }
    }
    let cause_key = key(scope, "cause");
    if let Some(cause) = get(scope, error, cause_key).filter(|cause| !cause.is_undefined()) {
        let short = shortened(scope, cause, depth + 1, left);
        if short != cause && !define(scope, error, cause_key, short) {
            return short;
        }
    }
    let errors_key = key(scope, "errors");
    if let Some(errors) = get(scope, error, errors_key).and_then(|errors| v8::Local::<v8::Array>::try_from(errors).ok())
    {
        for index in 0..errors.length().min(u32::try_from(MOST_ERRORS).unwrap_or(u32::MAX)) {
            let Some(inner) = errors.get_index(scope, index) else { break };
            let short = shortened(scope, inner, depth + 1, left);
            if short != inner && errors.set_index(scope, index, short) != Some(true) {
                return short;
            }
        }
    }
    error.into()
}

/// The beginning of a text that is too long, and how much is left out. Reads no more than that: V8 may have the text in pieces, which
/// it would otherwise put together first.
fn shortened_text<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    text: v8::Local<'s, v8::String>,
    left: &mut Left,
) -> Option<v8::Local<'s, v8::String>> {
    let length = text.length();
    let most = MOST_CHARACTERS.min(left.characters).max(FEW_CHARACTERS);
    left.characters = left.characters.saturating_sub(length.min(most));
    if length <= most {
        return None;
    }
    let mut start = vec![0; most];
    text.write_v2(scope, 0, &mut start, v8::WriteFlags::empty());
    let start = String::from_utf16_lossy(&start);
    v8::String::new(scope, &format!("{start}... ({} more characters)", length - most))
}

fn key<'s>(scope: &mut v8::PinScope<'s, '_>, name: &str) -> v8::Local<'s, v8::Name> {
    v8::String::new(scope, name).expect("a short string").into()
}

/// What a property is; nothing where its getter throws.
fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    key: v8::Local<'s, v8::Name>,
) -> Option<v8::Local<'s, v8::Value>> {
    v8::tc_scope!(let scope, scope);
    object.get(scope, key.into())
}

fn define<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    key: v8::Local<'s, v8::Name>,
    value: v8::Local<'s, v8::Value>,
) -> bool {
    v8::tc_scope!(let scope, scope);
    object.define_own_property(scope, key, value, v8::PropertyAttribute::DONT_ENUM) == Some(true)
}
