//! Which worker of a project a consumer or a trigger belongs to.

use super::queues::RequestedConsumer;
use super::triggers::RequestedTriggers;
use super::workers::{Content, Draft};
use crate::diagnostic::Diagnostic;
use crate::model::WorkerRole;
use crate::names::sanitized_worker_name;
use crate::section::Section;
use crate::source::{Located, Span};

/// Something of the config that belongs to one worker.
pub(super) trait ForOneWorker {
    fn requested_worker(&self) -> Option<&Located<String>>;
    fn place(&self) -> Option<&Span>;
}

impl ForOneWorker for RequestedConsumer {
    fn requested_worker(&self) -> Option<&Located<String>> {
        self.worker.as_ref()
    }

    fn place(&self) -> Option<&Span> {
        self.consumer.span.as_ref()
    }
}

impl ForOneWorker for RequestedTriggers {
    fn requested_worker(&self) -> Option<&Located<String>> {
        self.worker.as_ref()
    }

    fn place(&self) -> Option<&Span> {
        Some(&self.span)
    }
}

/// Gives each item to the worker it names, else to the main worker, else to the only worker there is. What belongs to
/// nobody is reported and left out.
pub(super) fn assigned<T: ForOneWorker>(
    root: &Section<'_>,
    drafts: &[Draft],
    items: Vec<T>,
    what: &str,
) -> Vec<(usize, T)> {
    let own: Vec<(usize, &Draft)> =
        drafts.iter().enumerate().filter(|(_, draft)| matches!(draft.content, Content::Module(_))).collect();
    let known: Vec<&str> = own.iter().map(|(_, draft)| draft.name.as_str()).collect();
    let hint = format!("its workers are: {}", known.join(", "));
    let mut result = Vec::new();
    for item in items {
        let found = if let Some(wanted) = item.requested_worker() {
            let name = sanitized_worker_name(&wanted.value);
            let found = own.iter().find(|(_, draft)| draft.name == name);
            if found.is_none() {
                let diagnostic = Diagnostic::error(format!("the project has no worker \"{}\"", wanted.value))
                    .at(wanted.span.clone(), format!("{what} asks for it"))
                    .help(&hint);
                root.reader.problems.report(diagnostic);
            }
            found
        } else {
            let found = match own.as_slice() {
                [only] => Some(only),
                several => several.iter().find(|(_, draft)| draft.role == WorkerRole::Main),
            };
            if let (None, Some(span)) = (found, item.place()) {
                let diagnostic = Diagnostic::error(format!("nothing says which worker {what} belongs to"))
                    .at(span.clone(), "needs `worker = \"...\"`: the project has no main worker")
                    .help(&hint);
                root.reader.problems.report(diagnostic);
            }
            found
        };
        if let Some((index, _)) = found {
            result.push((*index, item));
        }
    }
    result
}

/// Those of `assigned`'s answer that the draft at `position` has.
pub(super) fn of_worker<T>(assigned: &[(usize, T)], position: usize) -> impl Iterator<Item = &T> {
    assigned.iter().filter(move |(index, _)| *index == position).map(|(_, item)| item)
}
