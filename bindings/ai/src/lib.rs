//! The `AI` binding: text generation and embeddings with the surface of Workers AI (Cloudflare contract, section 6).
//!
//! A call crosses this crate in three steps. [`Inputs::parse`] turns the object a worker passed into a typed request, or into the
//! error Workers AI gives. An [`AiDriver`] answers it: text generation is a stream of events, also where the caller wants the
//! answer in one piece ([`AiDriver::generate`] collects it). What comes out has the shapes of [`Generation`] and [`Embeddings`].
//!
//! [`catalogue`] knows the `@cf/...` names and which public files stand for them; `hub` (a feature) gets those files. The driver
//! `drivers::candle` (a feature) runs them on the processor. Only `ops` (a feature) knows V8.

pub mod catalogue;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
pub mod drivers;
mod error;
#[cfg(feature = "hub")]
pub mod hub;
mod inputs;
mod json_mode;
mod models_folder;
#[cfg(feature = "ops")]
pub mod ops;

pub use driver::{
    AiDriver, Embeddings, EmbeddingsRequest, FinishReason, Generation, GenerationEvent, GenerationStream, Message,
    ModelInfo, ModelState, Pooling, Prompt, Response, ResponseFormat, Role, Sampling, Task, TextGeneration, Tool,
    ToolCall, Usage,
};
pub use error::InferenceCode;
pub use inputs::Inputs;
pub use json_mode::conform;
pub use models_folder::ModelsFolder;

/// The kind of this binding, as [`aerostack_bindings::BindingInfo`] shows it.
pub const KIND: &str = "ai";
