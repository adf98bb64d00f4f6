use aerostack_cron::{CronExpression, Weekdays, WhenMissed};

use crate::diagnostic::Diagnostic;
use crate::model::Triggers;
use crate::read::project_file::Dialect;
use crate::section::Section;
use crate::source::{Located, Span};

/// One `[triggers]` or `[[triggers]]`, and the worker it names; none leaves it to the main worker.
pub(super) struct RequestedTriggers {
    /// Not read yet: how depends on the worker's `weekdays`, which another section may hold.
    pub(super) crons: Vec<Located<String>>,
    pub(super) weekdays: Option<Located<Weekdays>>,
    pub(super) missed: Option<Located<WhenMissed>>,
    pub(super) worker: Option<Located<String>>,
    pub(super) span: Span,
}

/// Reads `[triggers]` and `[[triggers]]`, which mean the same.
pub(super) fn read_triggers(root: &Section<'_>) -> Vec<RequestedTriggers> {
    root.sections("triggers")
        .iter()
        .map(|section| RequestedTriggers {
            crons: section.strings("crons"),
            weekdays: choice(section, "weekdays", &[("unix", Weekdays::Unix), ("quartz", Weekdays::Quartz)]),
            missed: choice(section, "missed", &[("skip", WhenMissed::Skip), ("latest", WhenMissed::RunLatest)]),
            worker: section.string("worker"),
            span: section.span.clone(),
        })
        .collect()
}

/// The triggers of one worker out of the sections that are its own.
pub(super) fn merged(root: &Section<'_>, own: &[&RequestedTriggers], dialect: Dialect) -> Triggers {
    let weekdays = own.iter().filter_map(|triggers| triggers.weekdays.as_ref());
    let weekdays = agreed(root, weekdays, "one worker cannot count weekdays in two ways");
    let missed = own.iter().filter_map(|triggers| triggers.missed.as_ref());
    let missed = agreed(root, missed, "one worker cannot treat missed firings in two ways");
    let weekdays = weekdays.unwrap_or(match dialect {
        Dialect::Aerostack => Weekdays::Unix,
        Dialect::Wrangler => Weekdays::Quartz,
    });
    let crons = own.iter().flat_map(|triggers| &triggers.crons);
    Triggers {
        crons: crons.filter_map(|cron| expression(root, cron, weekdays)).collect(),
        weekdays,
        missed: missed.unwrap_or_default(),
    }
}

/// The value of `key` out of the words it may be.
fn choice<T: Copy>(section: &Section<'_>, key: &str, words: &[(&'static str, T)]) -> Option<Located<T>> {
    let allowed: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
    let chosen = section.choice(key, &allowed)?;
    let entry = section.get(key)?;
    let (_, value) = words.iter().find(|(word, _)| *word == chosen)?;
    Some(Located { value: *value, span: section.span_of(entry) })
}

/// What all sections that say something say; `conflict` is reported where one says something else than the first.
fn agreed<'a, T: Copy + PartialEq + 'a>(
    root: &Section<'_>,
    said: impl Iterator<Item = &'a Located<T>>,
    conflict: &str,
) -> Option<T> {
    let mut first: Option<&Located<T>> = None;
    for said in said {
        let first = *first.get_or_insert(said);
        if first.value != said.value {
            let diagnostic = Diagnostic::error(conflict)
                .at(said.span.clone(), "")
                .related(first.span.clone(), "the other way is here");
            root.reader.problems.report(diagnostic);
        }
    }
    first.map(|first| first.value)
}

fn expression(root: &Section<'_>, cron: &Located<String>, weekdays: Weekdays) -> Option<Located<CronExpression>> {
    let span = cron.span.clone();
    match CronExpression::parse(&cron.value, weekdays) {
        Ok(value) => {
            if value.next_after(0).is_none() {
                let diagnostic = Diagnostic::warning(format!("the cron expression \"{value}\" never fires"));
                root.reader.problems.report(diagnostic.at(span.clone(), "no date matches"));
            }
            Some(Located { value, span })
        }
        Err(error) => {
            let place = span.of_part(&cron.value, &error.range);
            let diagnostic = Diagnostic::error(error.message).at(place, "");
            root.reader.problems.report(error.help.into_iter().fold(diagnostic, Diagnostic::help));
            None
        }
    }
}
