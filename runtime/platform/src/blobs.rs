use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aerostack_bindings::{Held, Memory};
use deno_core::url::Url;
use deno_web::{Blob, BlobPart, BlobStore, BlobStoreTrait};
use uuid::Uuid;

type Part = Arc<dyn BlobPart + Send + Sync>;

/// Counts what it holds: blobs lie outside of V8, which does not know how large they are. A slice counts for what it shows, although it
/// shares the bytes.
#[derive(Debug)]
pub(crate) struct CountedBlobs {
    blobs: BlobStore,
    memory: Memory,
    held: Mutex<HashMap<Uuid, Held>>,
}

impl CountedBlobs {
    pub(crate) fn counted_in(memory: Memory) -> Arc<dyn BlobStoreTrait> {
        Arc::new(Self { blobs: BlobStore::default(), memory, held: Mutex::default() })
    }
}

impl BlobStoreTrait for CountedBlobs {
    fn insert_part(&self, part: Part) -> Uuid {
        // deno_web has no way to refuse a part. Who looks at the isolate's memory stops it.
        let held = self.memory.hold_anyway(part.size());
        let id = self.blobs.insert_part(part);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(id, held);
        id
    }

    fn get_part(&self, id: &Uuid) -> Option<Part> {
        self.blobs.get_part(id)
    }

    fn remove_part(&self, id: &Uuid) -> Option<Part> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.blobs.remove_part(id)
    }

    fn get_object_url(&self, url: Url) -> Option<Arc<Blob>> {
        self.blobs.get_object_url(url)
    }

    fn insert_object_url(&self, blob: Blob, location: Option<Url>) -> Url {
        self.blobs.insert_object_url(blob, location)
    }

    fn remove_object_url(&self, url: &Url) {
        self.blobs.remove_object_url(url);
    }

    fn clear(&self) {
        self.blobs.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aerostack_bindings::Memory;
    use deno_web::InMemoryBlobPart;

    use super::CountedBlobs;

    #[test]
    fn parts_count_until_they_are_removed() {
        let memory = Memory::limited(100, || ());
        let blobs = CountedBlobs::counted_in(memory.clone());
        let one = blobs.insert_part(Arc::new(InMemoryBlobPart::from(vec![0; 10])));
        let other = blobs.insert_part(Arc::new(InMemoryBlobPart::from(vec![0; 5])));
        assert_eq!(memory.held(), 15);
        assert!(blobs.remove_part(&one).is_some() && blobs.remove_part(&one).is_none());
        assert_eq!(memory.held(), 5);
        assert!(blobs.remove_part(&other).is_some());
        assert_eq!(memory.held(), 0);
    }
}
