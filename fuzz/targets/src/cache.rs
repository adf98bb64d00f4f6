use aerostack_cache::limits::{Expiry, Operation, check_key, check_metadata, cursor_after, expires_at, key_of_cursor};

use crate::parted;

/// A key or cursor, and a time behind a zero: a cursor leads back to its key, and an entry that is taken expires in the future.
pub(crate) fn target(data: &[u8]) {
    let (text, rest) = parted(data);
    let mut bytes = [0; 8];
    rest.iter().take(8).zip(&mut bytes).for_each(|(from, to)| *to = *from);
    let (now, least) = (u64::from_le_bytes(bytes) >> 20, 60);
    let key = key_of_cursor(&cursor_after(&text)).expect("a cursor of ours is one");
    // No key is empty, and an empty cursor is none.
    assert_eq!(key.as_deref(), Some(&*text).filter(|text| !text.is_empty()));
    if let Ok(Some(key)) = key_of_cursor(&text) {
        assert_eq!(key_of_cursor(&cursor_after(&key)).expect("a cursor of ours is one"), Some(key));
    }
    for operation in [Operation::Get, Operation::Put, Operation::Delete] {
        if check_key(operation, &text).is_ok() {
            assert!(text.len() <= 512, "a key is at most 512 bytes long");
        }
    }
    // Any text is a wrong or a right one, and never more.
    let _ = check_metadata(&text);
    assert!(expires_at(Expiry::Never, now, least).is_ok_and(|at| at.is_none()));
    let seconds = now as i32;
    for expiry in [Expiry::After(seconds), Expiry::At(seconds)] {
        if let Ok(Some(at)) = expires_at(expiry, now, least) {
            assert!(at >= now + least, "{expiry:?} at {now} is gone at {at}");
        }
    }
}
