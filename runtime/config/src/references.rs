//! `$NAME` and `${NAME}` in strings (contract 3.7): looked up in `.dev.vars` and in the process environment.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::dev_vars::DevVars;
use crate::environment::Environment;
use crate::load::Precedence;

/// Where references are looked up.
pub(crate) struct Lookup<'a> {
    pub(crate) dev_vars: &'a DevVars,
    pub(crate) environment: &'a dyn Environment,
    pub(crate) precedence: Precedence,
    /// Every value that was found: what must not be shown.
    pub(crate) found: RefCell<BTreeSet<String>>,
}

/// A string after its references were replaced.
pub(crate) enum Expanded {
    /// It had none.
    Literal(String),
    /// It had some, so it may hold a secret now.
    Resolved(String),
}

/// Why a string could not be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReferenceError {
    /// The variable is set nowhere.
    Unset(String),
    /// A `${` without a name and `}` after it.
    Malformed,
}

impl Lookup<'_> {
    pub(crate) fn find(&self, name: &str) -> Option<String> {
        let of_file = || self.dev_vars.get(name).map(|variable| variable.value.expose().to_owned());
        let of_process = || self.environment.variable(name);
        let value = match self.precedence {
            Precedence::File => of_file().or_else(of_process),
            Precedence::ProcessEnvironment => of_process().or_else(of_file),
        };
        self.found.borrow_mut().extend(value.clone());
        value
    }

    /// Replaces every reference of `text`; `$$` is a plain dollar sign, and so is a `$` before anything but a name.
    pub(crate) fn expand(&self, text: &str) -> Result<Expanded, Vec<ReferenceError>> {
        let mut result = String::with_capacity(text.len());
        let mut errors = Vec::new();
        let mut resolved = false;
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            result.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                result.push('$');
                rest = after;
                continue;
            }
            let (name, after) = match rest.strip_prefix('{') {
                Some(inner) => match inner.split_once('}') {
                    Some((name, after)) if is_variable_name(name) => (name, after),
                    _ => {
                        errors.push(ReferenceError::Malformed);
                        break;
                    }
                },
                None => rest.split_at(rest.find(|c: char| !is_name_character(c)).unwrap_or(rest.len())),
            };
            if !is_variable_name(name) {
                result.push('$');
                continue;
            }
            resolved = true;
            rest = after;
            match self.find(name) {
                Some(value) => result.push_str(&value),
                None => errors.push(ReferenceError::Unset(name.to_owned())),
            }
        }
        result.push_str(rest);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(if resolved { Expanded::Resolved(result) } else { Expanded::Literal(result) })
    }
}

impl Expanded {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Literal(text) | Self::Resolved(text) => text,
        }
    }
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_name_character)
}
