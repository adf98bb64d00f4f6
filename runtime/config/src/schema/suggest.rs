use strsim::damerau_levenshtein;

/// The name of `known` that `name` was probably meant to be: the same but for case and separators, its beginning, or
/// few typing mistakes away.
pub(super) fn similar<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = without_separators(name);
    if plain.len() >= 3
        && let Some(longer) = known.iter().find(|candidate| without_separators(candidate).starts_with(&plain))
    {
        return Some(longer);
    }
    let (distance, best) = known
        .iter()
        .map(|candidate| (damerau_levenshtein(&plain, &without_separators(candidate)), *candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let allowed = if plain.chars().count() <= 3 { 1 } else { plain.chars().count().div_ceil(4) };
    (distance <= allowed && distance < best.len()).then_some(best)
}

fn without_separators(name: &str) -> String {
    // Longer names than any key cannot match, and comparing them would take quadratic time.
    name.chars().take(80).filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::similar;

    #[test]
    fn typing_mistakes_and_other_spellings_are_recognised() {
        let known = ["compatibility_date", "d1_databases", "main", "name", "vars"];
        assert_eq!(similar("compatability_date", &known), Some("compatibility_date"));
        assert_eq!(similar("compatibilityDate", &known), Some("compatibility_date"));
        assert_eq!(similar("d1_database", &known), Some("d1_databases"));
        assert_eq!(similar("mian", &known), Some("main"));
        assert_eq!(similar("var", &known), Some("vars"));
        assert_eq!(similar("cpu", &["wall_ms", "cpu_ms"]), Some("cpu_ms"));
    }

    #[test]
    fn unlike_names_are_not_suggested() {
        assert_eq!(similar("favourite_colour", &["main", "name", "vars"]), None);
        assert_eq!(similar("xy", &["ai"]), None);
        assert_eq!(similar("anything", &[]), None);
    }
}
