//! The part of `package.json` that says which file an import of a package means.
//!
//! The rules are Node's ("Packages", "Determining package entry points" and the algorithm PACKAGE_EXPORTS_RESOLVE), with the
//! conditions of a worker instead of Node's.

use serde_json::Value;

/// True for a worker, besides `default`. Which one wins is up to the order in the package.
pub(crate) const CONDITIONS: [&str; 4] = ["workerd", "worker", "browser", "import"];

/// Never true here; only asked to tell "the package forbids it" from "the package has it for Node alone".
pub(crate) const NODE_CONDITIONS: [&str; 2] = ["require", "node"];

/// A parsed `package.json`.
#[derive(Debug, Default)]
pub(crate) struct PackageJson {
    pub(crate) name: Option<String>,
    pub(crate) exports: Option<Value>,
    imports: Option<Value>,
    pub(crate) module: Option<String>,
    pub(crate) main: Option<String>,
}

impl PackageJson {
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_str(text)?;
        let mut take = |key: &str| value.get_mut(key).map(Value::take).filter(|value| !value.is_null());
        let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
        Ok(Self {
            name: text(take("name")),
            exports: take("exports"),
            imports: take("imports"),
            module: text(take("module")),
            main: text(take("main")),
        })
    }

    /// The path (`./...`) that `exports` gives for a subpath (`.` or `./...`).
    pub(crate) fn exported(&self, subpath: &str, conditions: &[&str]) -> Option<String> {
        let exports = self.exports.as_ref()?;
        let is_map = exports.as_object().is_some_and(|map| map.keys().any(|key| key.starts_with('.')));
        if !is_map {
            return if subpath == "." { pick(exports, "", conditions) } else { None };
        }
        lookup(exports, subpath, conditions).filter(|target| target.starts_with("./"))
    }

    /// What `imports` gives for a name that begins with `#`: a path (`./...`) or another package.
    pub(crate) fn imported(&self, name: &str, conditions: &[&str]) -> Option<String> {
        lookup(self.imports.as_ref()?, name, conditions)
    }
}

/// The target for the exact key, or for the pattern with the longest text before its `*`.
fn lookup(map: &Value, key: &str, conditions: &[&str]) -> Option<String> {
    let map = map.as_object()?;
    if let Some(target) = map.get(key).filter(|_| !key.contains('*')) {
        return pick(target, "", conditions);
    }
    let (_, rest, target) = map
        .iter()
        .filter_map(|(pattern, target)| {
            let (before, after) = pattern.split_once('*')?;
            let rest = key.strip_prefix(before)?.strip_suffix(after)?;
            (!rest.is_empty()).then_some(((before.len(), pattern.len()), rest, target))
        })
        .max_by_key(|(length, _, _)| *length)?;
    pick(target, rest, conditions)
}

fn pick(target: &Value, rest: &str, conditions: &[&str]) -> Option<String> {
    match target {
        Value::String(path) => Some(path.replace('*', rest)).filter(|path| is_allowed(path)),
        Value::Array(targets) => targets.iter().find_map(|target| pick(target, rest, conditions)),
        Value::Object(choices) => choices.iter().find_map(|(condition, target)| {
            let holds = condition == "default" || conditions.contains(&condition.as_str());
            if holds { pick(target, rest, conditions) } else { None }
        }),
        _ => None,
    }
}

/// A package may not point out of itself.
fn is_allowed(path: &str) -> bool {
    !path.split(['/', '\\']).skip(1).any(|part| matches!(part, "." | ".." | "node_modules"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(text: &str) -> PackageJson {
        PackageJson::parse(text).expect("valid JSON")
    }

    #[test]
    fn the_order_of_conditions_in_the_package_decides() {
        let exports =
            r#"{"exports":{".":{"types":"./t.d.ts","node":"./node.js","browser":"./b.js","workerd":"./w.js"}}}"#;
        assert_eq!(package(exports).exported(".", &CONDITIONS).as_deref(), Some("./b.js"));
    }

    #[test]
    fn nested_conditions_and_lists_are_followed() {
        let exports = r#"{"exports":[{"node":"./n.js"},{"import":{"types":"./t.d.ts","default":"./i.js"}}]}"#;
        assert_eq!(package(exports).exported(".", &CONDITIONS).as_deref(), Some("./i.js"));
    }

    #[test]
    fn the_longest_pattern_wins_and_null_forbids() {
        let exports = r#"{"exports":{"./*":"./src/*.js","./deep/*":"./deep/*.mjs","./deep/private/*":null}}"#;
        let package = package(exports);
        assert_eq!(package.exported("./a", &CONDITIONS).as_deref(), Some("./src/a.js"));
        assert_eq!(package.exported("./deep/a/b", &CONDITIONS).as_deref(), Some("./deep/a/b.mjs"));
        assert_eq!(package.exported("./deep/private/a", &CONDITIONS), None);
    }

    #[test]
    fn a_plain_text_is_the_main_export_and_nothing_else() {
        let package = package(r#"{"exports":"./main.js"}"#);
        assert_eq!(package.exported(".", &CONDITIONS).as_deref(), Some("./main.js"));
        assert_eq!(package.exported("./other", &CONDITIONS), None);
    }

    #[test]
    fn a_target_outside_of_the_package_does_not_count() {
        for target in ["./../other/a.js", "./node_modules/b/a.js", "./a/../../b.js"] {
            let text = format!(r#"{{"exports":{{".":"{target}"}}}}"#);
            assert_eq!(package(&text).exported(".", &CONDITIONS), None, "{target}");
        }
        let pattern = package(r#"{"exports":{"./*":"./src/*"}}"#);
        assert_eq!(pattern.exported("./../../secret.js", &CONDITIONS), None);
    }
}
