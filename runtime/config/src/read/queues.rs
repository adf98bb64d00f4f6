use super::resource::{DefaultBinding, Place, driver_choice};
use crate::diagnostic::Diagnostic;
use crate::model::{ConsumerKind, ConsumerSettings, QueueBinding, QueueConsumer};
use crate::section::Section;
use crate::source::Located;

pub(super) const DEFAULT_QUEUE: DefaultBinding = DefaultBinding { binding: "QUEUE", resource: "local-queue" };

/// The longest delay of a message in seconds (cloudflare-contract 3.1).
const MAX_DELAY: u64 = 86_400;

/// A consumer and the worker it names; none leaves it to the main worker.
pub(super) struct RequestedConsumer {
    pub(super) consumer: QueueConsumer,
    pub(super) worker: Option<Located<String>>,
}

/// Reads `[[queues.producers]]`.
pub(super) fn read_producers(root: &Section<'_>, place: &Place) -> Vec<QueueBinding> {
    let Some(queues) = root.section("queues") else {
        return Vec::new();
    };
    queues
        .sections("producers")
        .iter()
        .filter_map(|section| {
            let delivery_delay = section.integer("delivery_delay", 0..=MAX_DELAY, "seconds").unwrap_or(0);
            let driver = driver_choice(section);
            let binding = section.binding()?;
            Some(QueueBinding {
                queue: place.queue_of(section, &binding.value, &DEFAULT_QUEUE)?,
                binding: binding.value,
                delivery_delay: delivery_delay as u32,
                driver,
                span: Some(binding.span),
            })
        })
        .collect()
}

/// Reads `[[queues.consumers]]`; a queue has one consumer at most.
pub(super) fn read_consumers(root: &Section<'_>, place: &Place) -> Vec<RequestedConsumer> {
    let Some(queues) = root.section("queues") else {
        return Vec::new();
    };
    let mut consumers: Vec<RequestedConsumer> = Vec::new();
    for section in queues.sections("consumers") {
        let Some(consumer) = read_consumer(&section, place) else {
            continue;
        };
        let first = consumers.iter().find(|first| first.consumer.queue == consumer.consumer.queue);
        if let Some(first_span) = first.and_then(|first| first.consumer.span.clone())
            && let Some(span) = consumer.consumer.span.clone()
        {
            let name = &consumer.consumer.queue.name;
            let diagnostic = Diagnostic::error(format!("the queue \"{name}\" has two consumers"))
                .at(span, "second consumer")
                .related(first_span, "first consumer");
            section.reader.problems.report(diagnostic);
        }
        consumers.push(consumer);
    }
    consumers
}

fn read_consumer(section: &Section<'_>, place: &Place) -> Option<RequestedConsumer> {
    let kind = match section.choice("type", &["worker", "http_pull"]) {
        Some("http_pull") => ConsumerKind::HttpPull,
        _ => ConsumerKind::Worker,
    };
    let defaults = ConsumerSettings::default();
    let number = |key, range, unit| section.integer(key, range, unit).map(|value| value as u32);
    let mut settings = ConsumerSettings {
        max_batch_size: number("max_batch_size", 1..=100, "messages").unwrap_or(defaults.max_batch_size),
        max_batch_timeout: number("max_batch_timeout", 0..=60, "seconds"),
        max_retries: number("max_retries", 0..=100, "").unwrap_or(defaults.max_retries),
        retry_delay: number("retry_delay", 0..=MAX_DELAY, "seconds").unwrap_or(defaults.retry_delay),
        max_concurrency: number("max_concurrency", 1..=250, "batches"),
        visibility_timeout_ms: number("visibility_timeout_ms", 1_000..=43_200_000, "milliseconds")
            .unwrap_or(defaults.visibility_timeout_ms),
        dead_letter_queue: None,
    };
    let worker = section.string("worker");
    let dead_letter_queue = section.string("dead_letter_queue");
    let name = section.required("queue")?;
    let queue = place.checked_queue(section, "queue", &name)?;
    if kind == ConsumerKind::HttpPull {
        let message =
            format!("pull consumers are not supported yet: the messages of \"{}\" stay in the queue", name.value);
        section.reader.problems.report(Diagnostic::warning(message).at(section.span.clone(), ""));
    }
    if let Some(dead_letters) = dead_letter_queue {
        if dead_letters.value == name.value {
            let message = format!("the queue \"{}\" is its own `dead_letter_queue`", name.value);
            let diagnostic = Diagnostic::error(message)
                .at(dead_letters.span.clone(), "")
                .help("a message that always fails would go round for ever");
            section.reader.problems.report(diagnostic);
        }
        settings.dead_letter_queue = place.checked_queue(section, "dead_letter_queue", &dead_letters);
    }
    Some(RequestedConsumer { consumer: QueueConsumer { queue, kind, settings, span: Some(name.span) }, worker })
}
