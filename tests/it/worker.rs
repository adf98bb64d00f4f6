use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aerostack_ai::AiDriver;
use aerostack_ai::ops::{AiBindings, NamedAi};
use aerostack_bindings::{Clock, Lazy, Memory, SystemClock};
use aerostack_cache::drivers::sqlite::{DEFAULT_MEMORY_BYTES, SqliteCache, SqliteOptions};
use aerostack_cache::ops::Caches;
use aerostack_cache::{CacheDriver, NamedCache};
use aerostack_database::Sqlite;
use aerostack_database::ops::{Databases, NamedDatabase};
use aerostack_isolate::{
    Answer, Breach, Breaches, Caller, ConsoleLevel, EnvEntry, EnvValue, Event, EventCall, EventReport, Failure,
    FetchRequest, IncomingRequest, InvocationLimits, Invocations, JsError, Limits, LoadError, OpState, RequestBody,
    WebOptions, Worker, WorkerLog, WorkerParts, WorkerVersion,
};
use aerostack_modules::{Graph, Loader, MemoryReader, ModuleErrors};
use aerostack_queue::drivers::sqlite::{SqliteOptions as QueueOptions, SqliteQueues};
use aerostack_queue::ops::Queues;
use aerostack_queue::{BacklogLimit, NamedQueue, QueueBatch, QueueDriver};
use aerostack_storage::drivers::fs::{FsOptions, FsStorage};
use aerostack_storage::ops::Storages;
use aerostack_storage::{NamedStorage, StorageDriver};
use aerostack_telemetry::metrics::Metrics;
use aerostack_trace::{Identity, Ids, Tracer};
use aerostack_vectorize::drivers::sqlite::{DEFAULT_APPROXIMATE_FROM, SqliteOptions as VectorOptions, SqliteVectors};
use aerostack_vectorize::ops::VectorIndexes;
use aerostack_vectorize::{Metric, NamedVectorIndex, VectorDriver};
use bytes::Bytes;
use http_body_util::BodyExt;
use tempfile::TempDir;

use crate::ScriptedAi;

/// A worker that runs in this process, with a fresh `DB`, `CACHE`, `QUEUE`, `VECTORIZE` and `STORAGE`, and a
/// scripted `AI`.
pub struct TestWorker {
    /// The worker itself.
    pub worker: Arc<Worker>,
    /// What it logged: `level: message` lines, and `uncaught: message` for errors nobody caught.
    pub log: Arc<CollectedLog>,
    /// Where its `QUEUE` keeps the messages of `local-queue`.
    pub queues: Arc<dyn QueueDriver>,
    /// What answers for its `AI`.
    pub ai: Arc<ScriptedAi>,
    /// How often it met its limits.
    pub breaches: Arc<Breaches>,
    state: TempDir,
}

/// How a [`TestWorker`] is made.
pub struct WorkerSetup {
    /// Files by path below the project; `src/index.ts` is the main module.
    pub files: Vec<(String, Vec<u8>)>,
    /// Variables on `env`.
    pub variables: Vec<(String, serde_json::Value)>,
    /// Limits of its isolates.
    pub limits: Limits,
    /// SQL run on `DB` before the worker starts.
    pub schema: String,
    /// Isolate threads.
    pub isolates: usize,
    /// The clock of the cache and the bucket.
    pub clock: Arc<dyn Clock>,
    /// What `local-queue` may hold.
    pub backlog_bytes: u64,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// After how many invocations of an isolate their numbers begin again; none is after as many as the engine can count.
    pub numbers_left: Option<u64>,
}

/// What a handler answered.
#[derive(Debug)]
pub struct WorkerAnswer {
    /// The status.
    pub status: u16,
    /// Headers as `name: value`, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// Collects what a worker logs.
#[derive(Default)]
pub struct CollectedLog(Mutex<Vec<String>>);

/// Limits that no well-behaved test meets.
pub fn default_limits() -> Limits {
    Limits {
        cpu: Duration::from_secs(30),
        wall: Some(Duration::from_mins(1)),
        event_wall: Duration::from_mins(1),
        wait_until: Duration::from_mins(1),
        heap_bytes: 128 * 1024 * 1024,
        array_buffer_bytes: 128 * 1024 * 1024,
        concurrent_requests: 1000,
        queued_requests: 1000,
        invocation: InvocationLimits { subrequests: 10_000, response_body_bytes: None, log_bytes: 64 * 1024 * 1024 },
    }
}

impl WorkerSetup {
    /// A worker of one TypeScript file.
    pub fn of(source: &str) -> Self {
        Self {
            files: vec![("src/index.ts".to_owned(), source.into())],
            variables: Vec::new(),
            limits: default_limits(),
            schema: String::new(),
            isolates: 1,
            clock: Arc::new(SystemClock),
            backlog_bytes: u64::MAX,
            metrics: Metrics::new("0.0.0"),
            numbers_left: None,
        }
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), content.as_ref().to_owned()));
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Runs SQL on `DB` first.
    #[must_use]
    pub fn schema(mut self, sql: &str) -> Self {
        self.schema.push_str(sql);
        self
    }

    /// Changes the limits.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Starts it; the error is what `aerostack dev` would print.
    pub async fn try_start(self) -> Result<TestWorker, LoadError> {
        let state = tempfile::tempdir().expect("a temporary folder can be made");
        let log = Arc::new(CollectedLog::default());
        let isolates = self.isolates;
        let options = QueueOptions { path: state.path().join("queues.sqlite") };
        let queues: Arc<dyn QueueDriver> =
            Arc::new(SqliteQueues::open(&options, self.clock.clone()).expect("queues can be opened"));
        let ai = Arc::new(ScriptedAi::default());
        let breaches = Arc::new(Breaches::default());
        let counted = breaches.clone();
        self.metrics.worker("test").count_breaches_by(Box::new(move || counted.counts()));
        let version = self.version(&state, log.clone(), queues.clone(), ai.clone(), breaches.clone());
        let worker = Arc::new(Worker::start(version, isolates).await?);
        Ok(TestWorker { worker, log, queues, ai, breaches, state })
    }

    /// Starts it.
    pub async fn start(self) -> TestWorker {
        match self.try_start().await {
            Ok(worker) => worker,
            Err(error) => panic!("the worker does not load: {error}"),
        }
    }

    /// The modules of the project in `/project`, or all that is wrong with them.
    pub fn load_graph(&self) -> Result<Graph, ModuleErrors> {
        let root = Path::new("/project");
        let reader = MemoryReader::default();
        for (path, content) in &self.files {
            reader.write(root.join(path), content);
        }
        Loader::new(root.to_owned(), reader).load_graph(&root.join("src/index.ts"))
    }

    fn version(
        self,
        state: &TempDir,
        log: Arc<CollectedLog>,
        queues: Arc<dyn QueueDriver>,
        ai: Arc<dyn AiDriver>,
        breaches: Arc<Breaches>,
    ) -> Arc<WorkerVersion> {
        let database = state.path().join("db.sqlite");
        let driver = Arc::new(Sqlite::open(&database).expect("a database can be opened"));
        if !self.schema.is_empty() {
            aerostack_database::script::execute(&database, &self.schema).expect("the schema is right");
        }
        let options = SqliteOptions {
            name: "CACHE".into(),
            path: state.path().join("kv.sqlite"),
            memory_bytes: DEFAULT_MEMORY_BYTES,
        };
        let cache: Arc<dyn CacheDriver> =
            Arc::new(SqliteCache::open(&options, self.clock.clone()).expect("a cache can be opened"));
        let cache = Arc::new(Lazy::from(cache));
        let options = FsOptions { name: "STORAGE".into(), folder: state.path().join("storage") };
        let bucket: Arc<dyn StorageDriver> =
            Arc::new(FsStorage::open(&options, self.clock.clone()).expect("a bucket can be opened"));
        let bucket = Arc::new(Lazy::from(bucket));
        let options = VectorOptions {
            name: "VECTORIZE".into(),
            path: state.path().join("vectors.sqlite"),
            dimensions: None,
            metric: Metric::Cosine,
            approximate_from: DEFAULT_APPROXIMATE_FROM,
            memory: Memory::unlimited(),
        };
        let vectors: Arc<dyn VectorDriver> =
            Arc::new(SqliteVectors::open(&options, self.clock.clone()).expect("a vector index can be opened"));
        let vectors = Arc::new(Lazy::from(vectors));
        let queues = Arc::new(Lazy::from(queues));
        let clock = self.clock.clone();
        let backlog_bytes = self.backlog_bytes;
        let counted = breaches.clone();
        let full = Arc::new(move || counted.note(Breach::QueueBacklog));
        let numbers_left = self.numbers_left;
        let install = Arc::new(move |state: &mut OpState| {
            if let Some(left) = numbers_left {
                state.borrow::<Rc<Invocations>>().begin_again_after(left);
            }
            let cache =
                NamedCache { name: "CACHE".into(), driver: cache.clone(), clock: clock.clone(), min_ttl_seconds: 60 };
            state.put(Databases(vec![NamedDatabase {
                name: "DB".into(),
                driver: driver.clone(),
                lacks_table: Arc::new(|_| ()),
            }]));
            state.put(Caches(vec![Arc::new(cache)]));
            let queue = |name: &str| NamedQueue {
                name: name.into(),
                queue: "local-queue".into(),
                driver: queues.clone(),
                delivery_delay: Duration::ZERO,
                backlog: BacklogLimit::new(backlog_bytes, full.clone()),
            };
            let queues = vec![Arc::new(queue("QUEUE")), Arc::new(queue("OLD_QUEUE"))];
            state.put(Queues { queues, sent: Arc::new(|_| {}) });
            // Parts of ten bytes, or every test of an upload would move megabytes.
            let bucket = NamedStorage { name: "STORAGE".into(), driver: bucket.clone(), min_part_bytes: 10 };
            state.put(Storages(vec![Arc::new(bucket)]));
            let index = NamedVectorIndex { name: "VECTORIZE".into(), driver: vectors.clone() };
            state.put(VectorIndexes(vec![Arc::new(index)]));
            state.put(AiBindings(vec![NamedAi { name: "AI".into(), driver: ai.clone() }]));
        });
        let mut env: Vec<EnvEntry> = self
            .variables
            .iter()
            .map(|(name, value)| EnvEntry { name: name.clone(), value: EnvValue::Json(value.clone()) })
            .collect();
        env.push(EnvEntry { name: "DB".into(), value: EnvValue::Binding { kind: "database", index: 0 } });
        env.push(EnvEntry { name: "CACHE".into(), value: EnvValue::Binding { kind: "cache", index: 0 } });
        env.push(EnvEntry { name: "QUEUE".into(), value: EnvValue::Binding { kind: "queue", index: 0 } });
        // As a worker from before 2024-03-18 has it.
        env.push(EnvEntry { name: "OLD_QUEUE".into(), value: EnvValue::Binding { kind: "queue_of_clones", index: 1 } });
        env.push(EnvEntry { name: "STORAGE".into(), value: EnvValue::Binding { kind: "storage", index: 0 } });
        env.push(EnvEntry { name: "VECTORIZE".into(), value: EnvValue::Binding { kind: "vectorize", index: 0 } });
        env.push(EnvEntry { name: "AI".into(), value: EnvValue::Binding { kind: "ai", index: 0 } });
        let metrics = self.metrics.clone();
        let graph = match self.load_graph() {
            Ok(graph) => graph,
            Err(errors) => panic!("{}", errors.render(aerostack_modules::FrameStyle::Plain)),
        };
        WorkerVersion::new(WorkerParts {
            name: "test".to_owned(),
            graph: Arc::new(graph),
            env,
            install,
            limits: self.limits,
            log,
            web: WebOptions::new(None),
            breaches,
            metrics: metrics.worker("test"),
            calls: metrics.calls().clone(),
            tracer: Tracer::off(),
        })
    }
}

impl TestWorker {
    /// Starts a worker of one TypeScript file.
    pub async fn start(source: &str) -> Self {
        WorkerSetup::of(source).start().await
    }

    /// Loads another version over the same `DB`, `CACHE` and `QUEUE` and lets it take over.
    pub async fn replace(&self, setup: WorkerSetup) {
        let isolates = setup.isolates;
        let version =
            setup.version(&self.state, self.log.clone(), self.queues.clone(), self.ai.clone(), self.breaches.clone());
        self.worker.replace(version, isolates).await.expect("the new version loads");
    }

    /// Calls the `scheduled` handler.
    pub async fn scheduled(&self, cron: &str, scheduled_time_ms: u64) -> EventReport {
        self.event(Event::Scheduled { cron: cron.into(), scheduled_time_ms }).await
    }

    /// Leases what is due in `local-queue` and calls the `queue` handler with it; the leases stay.
    pub async fn deliver(&self) -> EventReport {
        let messages = self.queues.lease("local-queue", 100, Duration::from_mins(1)).await.expect("a lease");
        let backlog = self.queues.backlog("local-queue").await.expect("a backlog");
        self.event(Event::Queue(QueueBatch { queue: "local-queue".into(), messages, backlog })).await
    }

    /// Calls an event's handler.
    pub async fn event(&self, event: Event) -> EventReport {
        self.worker.event(EventCall { event, log: self.log.clone() }).await
    }

    /// Calls the handler with `GET`.
    pub async fn get(&self, path: &str) -> WorkerAnswer {
        self.send(http::Request::get(path).body(Bytes::new()).expect("a valid request")).await
    }

    /// Calls the handler with `POST` and a text.
    pub async fn post(&self, path: &str, body: &str) -> WorkerAnswer {
        self.send(http::Request::post(path).body(Bytes::from(body.to_owned())).expect("a valid request")).await
    }

    /// Calls the handler; panics with the failure when it has no answer.
    pub async fn send(&self, request: http::Request<Bytes>) -> WorkerAnswer {
        match self.try_send(request).await {
            Ok(answer) => answer,
            Err(failure) => panic!("the handler failed: {failure:?}\nlog: {:?}", self.log.lines()),
        }
    }

    /// Calls the handler.
    pub async fn try_send(&self, request: http::Request<Bytes>) -> Result<WorkerAnswer, Failure> {
        let (parts, body) = request.into_parts();
        let url = format!("http://localhost{}", parts.uri);
        let body = if body.is_empty() { RequestBody::Empty } else { RequestBody::Full(body) };
        let identity = Identity { request: Ids::random().request(), span: None };
        let incoming = Box::new(IncomingRequest { parts: Box::new(parts), url, body, client_address: None });
        let answer = Answer::from(self.worker.fetch(FetchRequest { incoming, identity }).await?);
        let (head, body) = answer.response.into_parts();
        let body = body.collect().await.expect("the body arrives whole").to_bytes();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(WorkerAnswer { status: head.status.as_u16(), headers, body })
    }
}

impl WorkerAnswer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("{error}: {}", self.text()),
        }
    }

    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }
}

impl CollectedLog {
    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a line contains `text`, at most ten seconds.
    pub async fn wait_for(&self, text: &str) {
        self.wait_for_count(text, 1).await;
    }

    /// Waits until so many lines contain `text`, at most ten seconds.
    pub async fn wait_for_count(&self, text: &str, count: usize) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while self.lines().iter().filter(|line| line.contains(text)).count() < count {
            assert!(tokio::time::Instant::now() < deadline, "not {count} lines with {text:?} in {:?}", self.lines());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl WorkerLog for CollectedLog {
    fn console(&self, caller: Option<&Caller>, level: ConsoleLevel, message: &str) {
        let request = caller.map_or(String::new(), |caller| format!(" [{}]", caller.name));
        let level = format!("{level:?}").to_lowercase();
        self.push(format!("{level}{request}: {message}"));
    }

    fn limit_met(&self, caller: Option<&Caller>, text: &str) {
        let request = caller.map_or(String::new(), |caller| format!(" [{}]", caller.name));
        self.push(format!("limit{request}: {text}"));
    }

    fn uncaught(&self, caller: Option<&Caller>, error: &JsError) {
        let request = caller.map_or(String::new(), |caller| format!(" [{}]", caller.name));
        self.push(format!("uncaught{request}: {}", error.exception_message));
    }
}
