use aerostack_outbound::Rule;

use crate::diagnostic::Diagnostic;
use crate::document::Kind;
use crate::model::{Outbound, Private};
use crate::section::Section;
use crate::source::Located;

/// Reads `[outbound]`. A rule that is wrong is an error: leaving it out would allow what was meant to be denied.
pub(super) fn read_outbound(root: &Section<'_>) -> Outbound {
    let Some(section) = root.section("outbound") else {
        return Outbound::default();
    };
    Outbound {
        allow: section.get("allow").map(|_| rules(&section, "allow")),
        deny: rules(&section, "deny"),
        private: read_private(&section),
    }
}

fn read_private(section: &Section<'_>) -> Option<Private> {
    let entry = section.get("private")?;
    match &entry.value.kind {
        Kind::Boolean(true) => Some(Private::Allowed),
        Kind::Boolean(false) => Some(Private::Denied),
        Kind::Array(_) => Some(Private::Only(addresses(section))),
        _ => {
            section.wrong_kind(entry, "true, false, or a list of addresses");
            None
        }
    }
}

fn rules(section: &Section<'_>, key: &str) -> Vec<Rule> {
    section.strings(key).into_iter().filter_map(|text| rule(section, key, &text)).collect()
}

/// A name may point anywhere tomorrow, so the exceptions to `private = false` are addresses.
fn addresses(section: &Section<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for text in section.strings("private") {
        let Some(rule) = rule(section, "private", &text) else { continue };
        if rule.is_about_addresses() {
            rules.push(rule);
            continue;
        }
        let diagnostic =
            Diagnostic::error(format!("`outbound.private` is a list of addresses, not of names: \"{rule}\""))
                .at(text.span, "an address or a range: \"10.0.0.5\", \"10.0.0.0/24\", \"127.0.0.1:11434\"")
                .help("who controls a name could point it at any private address");
        section.reader.problems.report(diagnostic);
    }
    rules
}

fn rule(section: &Section<'_>, key: &str, text: &Located<String>) -> Option<Rule> {
    match Rule::parse(&text.value) {
        Ok(rule) => Some(rule),
        Err(error) => {
            let diagnostic = Diagnostic::error(format!("`outbound.{key}` has no rule in \"{}\": {error}", text.value))
                .at(text.span.clone(), "")
                .help("a rule is a name, `*.` and a name, an address, or a range like 10.0.0.0/8; with `:port` for one port");
            section.reader.problems.report(diagnostic);
            None
        }
    }
}
