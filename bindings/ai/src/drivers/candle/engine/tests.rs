use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

/// A job that tells each of its steps, and takes it when it is let.
struct Told {
    name: &'static str,
    steps: usize,
    listener: SyncSender<String>,
    panics: bool,
}

impl Job for Told {
    fn step(&mut self) -> Step {
        assert!(!self.panics, "on purpose");
        self.steps -= 1;
        self.listener.send(format!("{} {}", self.name, self.steps)).expect("somebody listens");
        if self.steps == 0 { Step::Done } else { Step::Again }
    }

    fn panicked(&mut self) {
        self.listener.send(format!("{} panicked", self.name)).expect("somebody listens");
    }
}

fn engine(concurrent: usize, queued: usize) -> (Arc<Engine>, impl Fn(&'static str, usize), Receiver<String>) {
    let engine = Engine::start(EngineOptions { concurrent, queued, ..EngineOptions::default() }).expect("started");
    // Room for nothing: a step waits until it is listened to.
    let (told, listen) = sync_channel(0);
    let submitting = Arc::clone(&engine);
    let submit = move |name, steps| {
        let place = submitting.admit().expect("room");
        submitting.submit(Told { name, steps, listener: told.clone(), panics: steps == 0 }, place).expect("submitted");
    };
    (engine, submit, listen)
}

#[test]
fn a_short_job_does_not_wait_for_a_long_one() {
    let (_engine, submit, listen) = engine(2, 8);
    submit("long", 3);
    submit("short", 1);
    let steps: Vec<String> = listen.iter().take(4).collect();
    let place = |step: &str| steps.iter().position(|told| told == step);
    assert!(place("short 0") < place("long 0"), "{steps:?}");
}

#[test]
fn no_more_than_the_limit_take_turns() {
    let (_engine, submit, listen) = engine(1, 8);
    submit("first", 2);
    submit("second", 2);
    assert_eq!(listen.iter().take(4).collect::<Vec<_>>(), ["first 1", "first 0", "second 1", "second 0"]);
}

#[test]
fn a_full_queue_is_refused_and_frees_itself() {
    let (engine, submit, listen) = engine(1, 1);
    submit("first", 1);
    submit("second", 1);
    let error = engine.admit().err().expect("the queue is full");
    assert_eq!(error.to_string(), "3040: Capacity temporarily exceeded, please try again.");
    assert_eq!(InferenceCode::of(&error), Some(InferenceCode::OutOfCapacity));
    assert!(error.is_retryable());
    assert_eq!(listen.iter().take(2).count(), 2);
    // The place is given back after the last step.
    while engine.admit().is_err() {
        thread::yield_now();
    }
}

#[test]
fn a_panic_is_the_end_of_its_job_only() {
    let (_engine, submit, listen) = engine(2, 8);
    submit("bad", 0);
    submit("good", 2);
    let told: Vec<String> = listen.iter().take(3).collect();
    assert_eq!(told.len(), 3);
    assert!(told.contains(&"bad panicked".to_owned()) && told.contains(&"good 0".to_owned()), "{told:?}");
}

#[test]
fn a_model_that_cannot_be_loaded_is_said_with_its_path_and_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.gguf");
    std::fs::write(&path, b"this is no model").expect("written");
    let engine = Engine::start(EngineOptions::default()).expect("started");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for _ in 0..2 {
        let error = runtime.block_on(engine.model(&Files::Gguf(path.clone(), None))).err().expect("no model");
        assert!(
            error.to_string().starts_with(&format!("the model in {} cannot be loaded: ", path.display())),
            "{error}"
        );
    }
}
