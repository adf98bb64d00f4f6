use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use aerostack_modules::{Graph, Module, ModuleKind};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use deno_core::{
    ModuleLoadOptions, ModuleLoadReferrer, ModuleLoadResponse, ModuleLoader, ModuleSource, ModuleSourceCode,
    ModuleSpecifier, ModuleType, RequestedModuleType, ResolutionKind, SourceCodeCacheInfo,
};
use deno_error::JsErrorBox;

/// Compiled code of one worker version, shared by its isolates: the first compiles, the others reuse.
#[derive(Default)]
pub(crate) struct CodeCache(Mutex<HashMap<String, CachedCode>>);

/// What V8 made of a source, and the hash of that source.
struct CachedCode {
    hash: u64,
    data: Arc<[u8]>,
}

impl CodeCache {
    fn get(&self, specifier: &str, hash: u64) -> Option<Arc<[u8]>> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(specifier).filter(|cached| cached.hash == hash).map(|cached| cached.data.clone())
    }

    fn put(&self, specifier: &str, hash: u64, data: &[u8]) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(specifier.to_owned(), CachedCode { hash, data: data.into() });
    }
}

/// Serves one worker version's modules, and nothing else, to V8.
pub(crate) struct GraphLoader {
    pub(crate) graph: Arc<Graph>,
    pub(crate) code_cache: Arc<CodeCache>,
}

impl GraphLoader {
    fn source(&self, specifier: &ModuleSpecifier, requested: &RequestedModuleType) -> Result<ModuleSource, JsErrorBox> {
        let Some(module) = self.graph.module(specifier) else {
            return Err(JsErrorBox::type_error(format!("Cannot find module \"{specifier}\"")));
        };
        let of_type = match requested {
            RequestedModuleType::Json => Some((ModuleType::Json, ModuleSourceCode::String(text_of(module).into()))),
            RequestedModuleType::Text => Some((ModuleType::Text, ModuleSourceCode::String(text_of(module).into()))),
            RequestedModuleType::Bytes => {
                Some((ModuleType::Bytes, ModuleSourceCode::Bytes(bytes_of(module).to_vec().into_boxed_slice().into())))
            }
            RequestedModuleType::None | RequestedModuleType::Other(_) => None,
        };
        if let Some((kind, code)) = of_type {
            return Ok(ModuleSource::new(kind, code, specifier, None));
        }
        let code = javascript_of(module);
        let hash = hash_of(&code);
        let data = self.code_cache.get(specifier.as_str(), hash).map(|data| Cow::Owned(data.to_vec()));
        let cache = SourceCodeCacheInfo { hash, data };
        let code = ModuleSourceCode::String(code.to_string().into());
        Ok(ModuleSource::new(ModuleType::JavaScript, code, specifier, Some(cache)))
    }
}

/// V8 checks only the length of a source against its cached code, so the key has to tell contents apart.
fn hash_of(source: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    hasher.finish()
}

/// The file of a module as it lies in the project.
fn bytes_of(module: &Module) -> &[u8] {
    match module.kind {
        ModuleKind::JavaScript => module.original.as_bytes(),
        _ => module.code.as_bytes(),
    }
}

fn text_of(module: &Module) -> String {
    String::from_utf8_lossy(bytes_of(module)).into_owned()
}

/// The module as JavaScript; binary kinds carry their bytes as base64.
fn javascript_of(module: &Module) -> Arc<str> {
    if let Some(code) = module.as_javascript() {
        return code;
    }
    let base64 = BASE64_STANDARD.encode(module.code.as_bytes());
    let value = match module.kind {
        ModuleKind::Wasm => format!("new WebAssembly.Module(Uint8Array.fromBase64(\"{base64}\"))"),
        _ => format!("Uint8Array.fromBase64(\"{base64}\").buffer"),
    };
    format!("export default {value};\n").into()
}

impl ModuleLoader for GraphLoader {
    fn resolve(&self, specifier: &str, referrer: &str, kind: ResolutionKind) -> Result<ModuleSpecifier, JsErrorBox> {
        if matches!(kind, ResolutionKind::MainModule) {
            return ModuleSpecifier::parse(specifier).map_err(JsErrorBox::from_err);
        }
        let referrer = ModuleSpecifier::parse(referrer).map_err(JsErrorBox::from_err)?;
        self.graph.resolve(specifier, &referrer).map_err(|error| JsErrorBox::type_error(error.to_string()))
    }

    fn load(
        &self,
        specifier: &ModuleSpecifier,
        _referrer: Option<&ModuleLoadReferrer>,
        options: ModuleLoadOptions,
    ) -> ModuleLoadResponse {
        ModuleLoadResponse::Sync(self.source(specifier, &options.requested_module_type))
    }

    fn code_cache_ready(
        &self,
        specifier: ModuleSpecifier,
        hash: u64,
        data: &[u8],
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        self.code_cache.put(specifier.as_str(), hash, data);
        Box::pin(std::future::ready(()))
    }

    // Residual scripts of the platform, compiled at their first use.
    fn get_code_cache(&self, specifier: &ModuleSpecifier, source: &str) -> Option<SourceCodeCacheInfo> {
        let hash = hash_of(source);
        let data = self.code_cache.get(specifier.as_str(), hash).map(|data| Cow::Owned(data.to_vec()));
        Some(SourceCodeCacheInfo { hash, data })
    }

    fn get_source_map(&self, file_name: &str) -> Option<Cow<'_, [u8]>> {
        let module = self.graph.module(&ModuleSpecifier::parse(file_name).ok()?)?;
        let map = module.source_map.as_ref()?;
        Some(Cow::Owned(map.json().as_bytes().to_vec()))
    }

    fn source_map_source_exists(&self, source_url: &str) -> Option<bool> {
        let url = ModuleSpecifier::parse(source_url).ok()?;
        Some(self.graph.module(&url).is_some())
    }
}
