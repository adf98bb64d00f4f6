//! The thread that computes, the queue before it, and the models in memory.
//!
//! One thread does all inference, and each of its operations uses every physical core ([`CANDLE_NUM_THREADS`] in the environment
//! says otherwise): two answers computed at once would only take turns on the same cores. What is under way takes turns step by
//! step, so a short request never waits for a long answer to be over.
//!
//! [`CANDLE_NUM_THREADS`]: https://docs.rs/candle-core

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use aerostack_bindings::{Error, ErrorKind, Result};
use tokio::sync::watch;

use super::model::{Files, Model};
use crate::InferenceCode;

/// How an [`Engine`] works.
#[derive(Clone)]
pub struct EngineOptions {
    /// So many requests take turns; the others wait. Each of them may keep the context of an answer in memory.
    pub concurrent: usize,
    /// So many requests wait before one more is refused with `3040`.
    pub queued: usize,
    /// Is told when a model is loaded. Called on a thread of its own.
    pub progress: Arc<dyn Fn(&LoadProgress) + Send + Sync>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { concurrent: 4, queued: 64, progress: Arc::new(|_| ()) }
    }
}

/// How far the loading of a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProgress {
    /// The model's file or folder.
    pub path: PathBuf,
    /// Bytes read.
    pub read: u64,
    /// Bytes in all. Equal to `read` when the model is loaded.
    pub total: u64,
}

/// Runs models. One a process: it is what makes all workers share the models and the cores.
pub struct Engine {
    options: EngineOptions,
    jobs: Sender<Admitted>,
    admitted: Arc<AtomicUsize>,
    models: Mutex<HashMap<Files, watch::Receiver<Loading>>>,
}

/// A piece of work that is done in steps.
pub(super) trait Job: Send {
    /// Does the next step. Returns soon: milliseconds, or what one step of the model takes.
    fn step(&mut self) -> Step;

    /// Told instead of the next step where a step panicked.
    fn panicked(&mut self);
}

/// Whether a job has more steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It has.
    Again,
    /// It has none.
    Done,
}

/// A place in the queue, given back when dropped.
pub(super) struct Place(Arc<AtomicUsize>);

struct Admitted {
    job: Box<dyn Job>,
    _place: Place,
}

#[derive(Clone)]
enum Loading {
    UnderWay,
    Loaded(Arc<Model>),
    Failed(Arc<str>),
}

impl Engine {
    /// Starts the thread.
    pub fn start(options: EngineOptions) -> Result<Arc<Self>> {
        let (jobs, received) = channel();
        let concurrent = options.concurrent.max(1);
        thread::Builder::new().name("aerostack-ai".to_owned()).spawn(move || work(&received, concurrent)).map_err(
            |error| Error::new(ErrorKind::Unexpected, "cannot start the inference thread").with_source(error),
        )?;
        Ok(Arc::new(Self { options, jobs, admitted: Arc::default(), models: Mutex::default() }))
    }

    /// A place for one more request, or `3040` where too many wait.
    pub(super) fn admit(&self) -> Result<Place> {
        let most = self.options.concurrent.max(1) + self.options.queued;
        let admitted =
            self.admitted.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < most).then_some(now + 1));
        match admitted {
            Ok(_) => Ok(Place(Arc::clone(&self.admitted))),
            Err(now) => Err(InferenceCode::OutOfCapacity
                .error("Capacity temporarily exceeded, please try again.")
                .with_context("requests under way", now.to_string())),
        }
    }

    /// Puts a job behind those that wait.
    pub(super) fn submit(&self, job: impl Job + 'static, place: Place) -> Result<()> {
        let admitted = Admitted { job: Box::new(job), _place: place };
        self.jobs.send(admitted).map_err(|_| Error::new(ErrorKind::Unexpected, "the inference thread has ended"))
    }

    /// Whether a model is in memory.
    pub(super) fn has(&self, files: &Files) -> bool {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.get(files).is_some_and(|loading| matches!(*loading.borrow(), Loading::Loaded(_)))
    }

    /// The model of these files, loaded once however many ask; who stops waiting does not stop the others' load.
    pub(super) async fn model(self: &Arc<Self>, files: &Files) -> Result<Arc<Model>> {
        let mut loading = self.loading(files)?;
        let state = loading.wait_for(|state| !matches!(state, Loading::UnderWay)).await;
        match state.as_deref() {
            Ok(Loading::Loaded(model)) => Ok(Arc::clone(model)),
            Ok(Loading::Failed(why)) => Err(unreadable(files, why)),
            Ok(Loading::UnderWay) | Err(_) => Err(unreadable(files, "the thread that loaded it has ended")),
        }
    }

    fn loading(self: &Arc<Self>, files: &Files) -> Result<watch::Receiver<Loading>> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loading) = models.get(files) {
            return Ok(loading.clone());
        }
        let (sender, receiver) = watch::channel(Loading::UnderWay);
        let (engine, loaded) = (Arc::clone(self), files.clone());
        thread::Builder::new()
            .name("aerostack-ai-load".to_owned())
            .spawn(move || engine.load(&loaded, &sender))
            .map_err(|error| {
                Error::new(ErrorKind::Unexpected, "cannot start a thread to load a model").with_source(error)
            })?;
        models.insert(files.clone(), receiver.clone());
        Ok(receiver)
    }

    fn load(&self, files: &Files, sender: &watch::Sender<Loading>) {
        let progress =
            |read, total| (self.options.progress)(&LoadProgress { path: files.path().to_owned(), read, total });
        let outcome = catch_unwind(AssertUnwindSafe(|| Model::load(files, &progress)));
        let state = match outcome {
            Ok(Ok(model)) => Loading::Loaded(Arc::new(model)),
            Ok(Err(error)) => Loading::Failed(error.to_string().into()),
            Err(_) => Loading::Failed("the loading panicked".into()),
        };
        if matches!(state, Loading::Failed(_)) {
            // The next request tries again: the file may be there by then.
            self.models.lock().unwrap_or_else(PoisonError::into_inner).remove(files);
        }
        sender.send_replace(state);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn unreadable(files: &Files, why: &str) -> Error {
    let path = files.path().display();
    Error::new(ErrorKind::ConfigInvalid, format!("the model in {path} cannot be loaded: {why}"))
}

/// The thread: takes jobs in the order they came and gives each of the first `concurrent` a step in turn.
fn work(jobs: &Receiver<Admitted>, concurrent: usize) {
    let mut under_way: VecDeque<Admitted> = VecDeque::new();
    loop {
        while under_way.len() < concurrent {
            let job = if under_way.is_empty() {
                jobs.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                jobs.try_recv()
            };
            match job {
                Ok(job) => under_way.push_back(job),
                Err(TryRecvError::Disconnected) if under_way.is_empty() => return,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let Some(mut admitted) = under_way.pop_front() else { continue };
        let job = &mut admitted.job;
        let step = catch_unwind(AssertUnwindSafe(|| candle_core::utils::with_threadpool(|| job.step())));
        match step {
            Ok(Step::Again) => under_way.push_back(admitted),
            Ok(Step::Done) => {}
            Err(_) => admitted.job.panicked(),
        }
    }
}

#[cfg(test)]
mod tests;
