//! The ops behind `js/bindings/ai.ts`. The only file here that knows V8.
//!
//! A call crosses once, as JSON text both ways: an answer goes on to `JSON.parse` or, with `returnRawResponse`, is the body of a
//! `Response`. A streamed answer is a resource that gives server-sent events as they are pulled; a response that passes it on
//! hands it to the connection, and no event of it passes through V8.
//!
//! Inference is costly, so what nobody waits for any more is dropped: when a signal fires, when a stream is cancelled or
//! collected, and when the handler that began it is over or its client has left.

mod answer;
mod stream;

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{Calls, Error, ErrorKind, Result};
use deno_core::{CancelHandle, OpState, Resource, ResourceId, op2};
use deno_error::JsErrorBox;
use futures_util::StreamExt;
use serde_json::Value;

use self::answer::{Answer, embeddings_json, generation_json, models_json};
use self::stream::StreamResource;
use crate::{AiDriver, GenerationStream, InferenceCode, Inputs, KIND, Task};

deno_core::extension!(
    aerostack_ai,
    ops = [op_ai_cancel, op_ai_cancellation, op_ai_models, op_ai_request_id, op_ai_run],
);

/// The `AI` bindings of one worker, in the order of its bindings. Put into `OpState` together with [`Calls`] before the first
/// call; ops name one by its place here.
#[derive(Clone)]
pub struct AiBindings(pub Vec<NamedAi>);

/// One `AI` binding of a worker.
#[derive(Clone)]
pub struct NamedAi {
    /// The name on `env`.
    pub name: String,
    /// What answers.
    pub driver: Arc<dyn AiDriver>,
}

/// A model may have to be loaded, and then to compute a long answer, on a slow machine. The limits of the handlers end it sooner.
const DEADLINE: Duration = Duration::from_mins(15);

/// Ends a call, and the stream that came of it, from outside.
struct Cancellation(Rc<CancelHandle>);

/// What a model answered.
enum Outcome {
    Whole(String),
    Stream(GenerationStream),
}

/// An [`Answer`]. `cancellation` is what [`op_ai_cancellation`] gave, or -1 where nobody can end the call.
#[op2]
async fn op_ai_run(
    state: Rc<RefCell<OpState>>,
    #[smi] index: u32,
    #[string] model: String,
    #[string] inputs: String,
    #[smi] cancellation: i32,
) -> Result<Answer, JsErrorBox> {
    let (binding, calls) = handles(&state, index)?;
    let cancel = match ResourceId::try_from(cancellation) {
        Err(_) => Rc::new(CancelHandle::new()),
        Ok(id) => {
            let resource = state.borrow().resource_table.get::<Cancellation>(id);
            resource.map_err(JsErrorBox::from_err)?.0.clone()
        }
    };
    // Asked for while the JavaScript that calls is on the stack.
    let mut over = calls.caller_over();
    let calls = calls.with_deadline(DEADLINE);
    let answering = calls.call(KIND, &binding.name, "run", answer(&*binding.driver, &model, &inputs));
    let outcome = tokio::select! {
        biased;
        outcome = answering => outcome,
        () = &mut over => Err(aborted()),
        () = cancelled(cancel.clone()) => Err(aborted()),
    };
    Ok(match outcome {
        Ok(Outcome::Whole(json)) => Answer::Whole(json),
        Ok(Outcome::Stream(events)) => {
            let resource = StreamResource::start(events, cancel, over);
            Answer::Stream(state.borrow_mut().resource_table.add_rc(resource))
        }
        Err(error) => Answer::Failed(error),
    })
}

/// The models this binding answers for, as JSON: objects in the form of Workers AI's list.
#[op2]
#[string]
fn op_ai_models(state: &mut OpState, #[smi] index: u32) -> Result<String, JsErrorBox> {
    let AiBindings(bindings) = state.borrow::<AiBindings>();
    let binding = bindings.get(index as usize).ok_or_else(|| no_binding(index))?;
    models_json(binding.driver.models()).map_err(|error| JsErrorBox::generic(error.to_string()))
}

/// The resource with which [`op_ai_cancel`] ends a call.
#[op2(fast)]
#[smi]
fn op_ai_cancellation(state: &mut OpState) -> ResourceId {
    state.resource_table.add(Cancellation(Rc::new(CancelHandle::new())))
}

/// Ends a call and its stream. A call that is over stays so.
#[op2(fast)]
fn op_ai_cancel(state: &mut OpState, #[smi] cancellation: ResourceId) {
    if let Ok(resource) = state.resource_table.take::<Cancellation>(cancellation) {
        resource.0.cancel();
    }
}

/// What `env.AI.lastRequestId` shows: 32 hex digits.
#[op2]
#[string]
fn op_ai_request_id() -> Result<String, JsErrorBox> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| JsErrorBox::generic(format!("no random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

impl Resource for Cancellation {
    fn name(&self) -> Cow<'_, str> {
        "aiCancellation".into()
    }
}

async fn answer(driver: &dyn AiDriver, model: &str, inputs: &str) -> Result<Outcome> {
    let inputs: Value = serde_json::from_str(inputs).map_err(|error| {
        InferenceCode::InvalidData.error(format!("the inputs cannot be read: {error}")).with_source(error)
    })?;
    let task = driver.task(model)?;
    if task == Task::TextEmbeddings && inputs.get("text").is_none() && inputs.get("contexts").is_some() {
        // Ranking, which some embedding models do in production and no driver does here.
        return Err(InferenceCode::no_such_model(model));
    }
    match Inputs::parse(task, &inputs)? {
        Inputs::TextGeneration(request) if request.stream => {
            let mut events = driver.stream(model, request).await?.peekable();
            // What is wrong with the request may come as the first event, and must fail the call, not the stream.
            if let Some(Err(_)) = std::pin::Pin::new(&mut events).peek().await
                && let Some(Err(error)) = events.next().await
            {
                return Err(error);
            }
            Ok(Outcome::Stream(Box::pin(events)))
        }
        Inputs::TextGeneration(request) => Ok(Outcome::Whole(generation_json(driver.generate(model, request).await?)?)),
        Inputs::TextEmbeddings(request) => Ok(Outcome::Whole(embeddings_json(&driver.embed(model, request).await?)?)),
    }
}

async fn cancelled(cancel: Rc<CancelHandle>) {
    use deno_core::CancelFuture as _;
    // It resolves because it is cancelled.
    let _ = std::future::pending::<()>().or_cancel(cancel).await;
}

fn aborted() -> Error {
    InferenceCode::Aborted.error("the request was aborted")
}

/// The state is not borrowed any more when this returns, so that a call can wait.
fn handles(state: &RefCell<OpState>, index: u32) -> Result<(NamedAi, Calls), JsErrorBox> {
    let state = state.borrow();
    let AiBindings(bindings) = state.borrow::<AiBindings>();
    let binding = bindings.get(index as usize).ok_or_else(|| no_binding(index))?;
    Ok((binding.clone(), state.borrow::<Calls>().clone()))
}

fn no_binding(index: u32) -> JsErrorBox {
    JsErrorBox::generic(format!("this worker has no AI binding number {index}"))
}

fn unexpected(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Unexpected, format!("the answer cannot be written: {error}")).with_source(error)
}
