use crate::diagnostic::Diagnostic;
use crate::model::{Triggers, Weekdays};
use crate::read::project_file::Dialect;
use crate::section::Section;
use crate::source::{Located, Span};

/// One `[triggers]` or `[[triggers]]`, and the worker it names; none leaves it to the main worker.
pub(super) struct RequestedTriggers {
    pub(super) crons: Vec<Located<String>>,
    pub(super) weekdays: Option<Located<Weekdays>>,
    pub(super) worker: Option<Located<String>>,
    pub(super) span: Span,
}

/// Reads `[triggers]` and `[[triggers]]`, which mean the same.
pub(super) fn read_triggers(root: &Section<'_>) -> Vec<RequestedTriggers> {
    root.sections("triggers")
        .iter()
        .map(|section| {
            let weekdays = section.choice("weekdays", &["unix", "quartz"]);
            let weekdays = section.get("weekdays").zip(weekdays).map(|(entry, choice)| Located {
                value: if choice == "quartz" { Weekdays::Quartz } else { Weekdays::Unix },
                span: section.span_of(entry),
            });
            let crons = section.strings("crons");
            for cron in &crons {
                check_field_count(section, cron);
            }
            RequestedTriggers { crons, weekdays, worker: section.string("worker"), span: section.span.clone() }
        })
        .collect()
}

/// The triggers of one worker out of the sections that are its own.
pub(super) fn merged(root: &Section<'_>, own: &[&RequestedTriggers], dialect: Dialect) -> Triggers {
    let mut weekdays: Option<&Located<Weekdays>> = None;
    for requested in own.iter().filter_map(|triggers| triggers.weekdays.as_ref()) {
        match weekdays {
            Some(first) if first.value != requested.value => {
                let diagnostic = Diagnostic::error("one worker cannot count weekdays in two ways")
                    .at(requested.span.clone(), "")
                    .related(first.span.clone(), "the other way is here");
                root.reader.problems.report(diagnostic);
            }
            _ => weekdays = Some(requested),
        }
    }
    let default = match dialect {
        Dialect::Aerostack => Weekdays::Unix,
        Dialect::Wrangler => Weekdays::Quartz,
    };
    Triggers {
        crons: own.iter().flat_map(|triggers| triggers.crons.iter().cloned()).collect(),
        weekdays: weekdays.map_or(default, |weekdays| weekdays.value),
    }
}

fn check_field_count(section: &Section<'_>, cron: &Located<String>) {
    let fields = cron.value.split_whitespace().count();
    if fields == 5 {
        return;
    }
    let message = format!("a cron expression has 5 fields, \"{}\" has {fields}", cron.value);
    let mut diagnostic = Diagnostic::error(message)
        .at(cron.span.clone(), "")
        .help("the fields are minute, hour, day of the month, month, weekday: \"0 9 * * MON\"");
    if cron.value.starts_with('@') {
        diagnostic = diagnostic.help("names such as @daily are not supported: write \"0 0 * * *\"");
    } else if fields == 6 {
        diagnostic = diagnostic.help("there is no field for seconds");
    }
    section.reader.problems.report(diagnostic);
}
