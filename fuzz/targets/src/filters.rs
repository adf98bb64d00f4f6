use aerostack_vectorize::filter::{Filter, Property};
use serde_json::Value;

use crate::parted;

/// A filter, and metadata behind a zero: one is read or refused the same way twice, it admits what all its conditions admit, and
/// the opposite of a condition is its opposite.
pub(crate) fn target(data: &[u8]) {
    let (text, metadata) = parted(data);
    let metadata: Option<Value> = serde_json::from_slice(metadata).ok();
    let Ok(filter) = Filter::parse(&text) else { return };
    assert!(Filter::parse(&text).is_ok_and(|again| again == filter));
    assert!(!filter.conditions().is_empty(), "an empty filter is refused");
    for metadata in [metadata.as_ref(), None] {
        let all = filter.conditions().iter().all(|condition| condition.admits(&Property::of(metadata, &condition.key)));
        assert_eq!(filter.admits(metadata), all);
    }
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&text) else { unreachable!("a filter is an object") };
    for (key, value) in object {
        for (one, other) in [("$eq", "$ne"), ("$in", "$nin")] {
            let Some(operand) = value.get(one) else { continue };
            let single = |name: &str| Filter::parse(&serde_json::json!({ &*key: { name: operand } }).to_string());
            if let (Ok(positive), Ok(negative)) = (single(one), single(other)) {
                assert_ne!(
                    positive.admits(metadata.as_ref()),
                    negative.admits(metadata.as_ref()),
                    "{key}: {one} and {other}"
                );
            }
        }
    }
}
