use aerostack_storage::UploadedPart;
use aerostack_storage::checksum::{from_hex, md5_of, to_hex};
use aerostack_storage::conditional::{Conditional, Current, Etag};
use aerostack_storage::listing::{after, beyond, cursor_of, group_of, position_of};
use aerostack_storage::multipart::{StoredPart, select};
use aerostack_storage::range::RangeRequest;

use crate::parted;

/// Two texts with a zero between, and numbers behind another: ranges lie within the object, etags that are not there match
/// nothing, positions of a listing move forward and survive their cursor, and selected parts come in order.
pub(crate) fn target(data: &[u8]) {
    let (one, rest) = parted(data);
    let (other, rest) = parted(rest);
    let number = |place: usize| {
        let mut bytes = [0; 8];
        rest.iter().skip(place * 8).take(8).zip(&mut bytes).for_each(|(from, to)| *to = *from);
        u64::from_le_bytes(bytes)
    };
    ranges(&one, number(0), number(1), number(2));
    conditions(&one, &other, number(0));
    positions(&one, &other);
    parts(rest, number(0));
}

fn ranges(header: &str, size: u64, offset: u64, length: u64) {
    let requests = [
        RangeRequest::Whole,
        RangeRequest::Header(header.to_owned()),
        RangeRequest::Suffix(length),
        RangeRequest::Span { offset: Some(offset), length: Some(length) },
        RangeRequest::Span { offset: Some(offset), length: None },
        RangeRequest::Span { offset: None, length: Some(length) },
    ];
    for request in requests {
        if let Ok(range) = request.resolve(size) {
            let end = range.offset.checked_add(range.length).expect("a range ends somewhere");
            assert!(end <= size, "{request:?} of {size}: {range:?}");
            assert!(range.length > 0 || range.offset == size, "{request:?} of {size}: {range:?}");
        }
    }
}

fn conditions(header: &str, etag: &str, uploaded_ms: u64) {
    let Ok(etags) = Etag::parse_header(header) else { return };
    assert_eq!(Etag::parse_header(header).as_ref(), Ok(&etags));
    let named = etags.iter().any(|candidate| match candidate {
        Etag::Wildcard => true,
        Etag::Strong(value) | Etag::Weak(value) => value == etag,
    });
    let current = Some(Current { etag, uploaded_ms: uploaded_ms >> 1 });
    let matches = Conditional { etag_matches: Some(etags.clone()), ..Conditional::default() };
    let differs = Conditional { etag_does_not_match: Some(etags), ..Conditional::default() };
    assert!(!matches.holds(current) || named, "an etag that is not named matches");
    assert_eq!(differs.holds(current), !named, "an etag that is named does not differ");
    assert!(!matches.holds(None) && differs.holds(None), "what is not there has no etag");
}

fn positions(key: &str, prefix: &str) {
    assert!(*after(key) > *key);
    assert_eq!(position_of(&cursor_of(key)).as_deref(), Some(key));
    if let Some(position) = position_of(key) {
        // Base64 has more than one way to write the same bytes at an end; those of ours come back.
        assert_eq!(position_of(&cursor_of(&position)), Some(position));
    }
    if let Some(beyond) = beyond(prefix) {
        assert!(*beyond > *prefix && !beyond.starts_with(prefix));
        assert!(!key.starts_with(prefix) || *key < *beyond, "{key:?} begins with {prefix:?}");
    }
    if key.starts_with(prefix)
        && let Some(group) = group_of(key, prefix, "/")
    {
        assert!(key.starts_with(group) && group.starts_with(prefix) && group.ends_with('/'));
    }
    if let Some(bytes) = from_hex(key) {
        assert_eq!(to_hex(&bytes), key.to_lowercase());
    }
}

fn parts(numbers: &[u8], min_part_bytes: u64) {
    let stored = |(place, byte): (usize, &u8)| StoredPart {
        part: UploadedPart { number: u32::from(byte % 16), etag: (byte / 64).to_string() },
        size: u64::from(numbers.get(place + 1).copied().unwrap_or(0)) << (byte % 32),
        md5: md5_of(&[*byte]),
    };
    let uploaded: Vec<StoredPart> = numbers.iter().enumerate().take(40).map(stored).collect();
    let selected: Vec<UploadedPart> = numbers
        .iter()
        .rev()
        .take(12)
        .map(|byte| UploadedPart { number: u32::from(byte % 16), etag: (byte / 64).to_string() })
        .collect();
    if let Ok(parts) = select(&selected, uploaded, min_part_bytes % 1_000) {
        assert_eq!(parts.len(), selected.len());
        assert!(parts.is_sorted_by(|one, other| one.part.number < other.part.number), "parts come in order, each once");
    }
}
