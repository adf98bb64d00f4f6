//! Every name on `env` has one meaning.

use super::bindings::Explicit;
use super::resource::Place;
use crate::diagnostic::Diagnostic;
use crate::model::{Bindings, ServiceBinding, Variable};
use crate::section::Section;
use crate::source::Span;

/// Everything on `env` but variables: what the config asks for, each name once, and the defaults it leaves room for.
pub(super) fn settled(
    root: &Section<'_>,
    explicit: &Explicit,
    services: Vec<ServiceBinding>,
    variables: &[Variable],
    place: &Place,
) -> Bindings {
    let mut names = NamesOnEnv::default();
    names.claim_bindings(root, &explicit.bindings);
    names.claim_bindings(root, &Bindings { services: services.clone(), ..Bindings::default() });
    names.claim_variables(root, variables);
    let bindings = explicit.with_defaults(place, &|name| names.is_taken(name));
    Bindings { services, ..bindings }
}

/// Names that the config gives a meaning to, so that defaults leave them alone.
#[derive(Default)]
struct NamesOnEnv {
    claims: Vec<Claim>,
}

struct Claim {
    name: String,
    what: &'static str,
    span: Option<Span>,
}

impl NamesOnEnv {
    fn is_taken(&self, name: &str) -> bool {
        self.claims.iter().any(|claim| claim.name == name)
    }

    fn claim_bindings(&mut self, root: &Section<'_>, bindings: &Bindings) {
        for (name, kind, span) in bindings.names() {
            self.claim(root, name, kind.described(), span.cloned());
        }
    }

    fn claim_variables(&mut self, root: &Section<'_>, variables: &[Variable]) {
        for variable in variables {
            self.claim(root, &variable.name, "a variable", Some(variable.span.clone()));
        }
    }

    fn claim(&mut self, root: &Section<'_>, name: &str, what: &'static str, span: Option<Span>) {
        let Some(first) = self.claims.iter().find(|claim| claim.name == name) else {
            self.claims.push(Claim { name: name.to_owned(), what, span });
            return;
        };
        let mut diagnostic = Diagnostic::error(format!("`env.{name}` has two meanings"));
        if let Some(span) = span {
            diagnostic = diagnostic.at(span, format!("here it is {what}"));
        }
        if let Some(span) = &first.span {
            diagnostic = diagnostic.related(span.clone(), format!("here it is {}", first.what));
        }
        root.reader.problems.report(diagnostic);
    }
}
