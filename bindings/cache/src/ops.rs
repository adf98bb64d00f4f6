deno_core::extension!(aerostack_cache);
pub struct Caches(pub Vec<crate::NamedCache>);
impl Clone for Caches { fn clone(&self)->Self{Self(Vec::new())}}
