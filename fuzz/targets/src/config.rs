use std::path::Path;

use aerostack_config::{Colour, MemoryEnvironment, load, render_all};

/// A config in one of its languages, and a `.dev.vars` behind a zero: it is loaded, or refused with something to read; twice the
/// same; and the colours are all that differs between the ways of showing it.
pub(crate) fn target(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let file = ["aerostack.toml", "wrangler.toml", "wrangler.jsonc", "wrangler.json"][usize::from(kind % 4)];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (text, dev_vars) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let target = (kind & 0x80 != 0).then_some("staging");
    let environment = MemoryEnvironment::new()
        .file(file, text)
        .file(".dev.vars", dev_vars)
        .file("src/index.ts", "")
        .with_variable("SET", "value");
    let (plain, coloured) =
        (shown(file, target, &environment, Colour::Never), shown(file, target, &environment, Colour::Always));
    assert_eq!(plain, shown(file, target, &environment, Colour::Never), "a config is read the same way twice");
    assert_eq!(plain.is_ok(), coloured.is_ok());
    if let Err(text) = plain {
        assert!(!text.is_empty(), "a refusal says why");
        assert!(!text.contains('\u{1b}'), "without colour nothing moves the cursor");
    }
}

fn shown(file: &str, target: Option<&str>, environment: &MemoryEnvironment, colour: Colour) -> Result<String, String> {
    match load(Path::new(file), target, environment) {
        Ok(loaded) => Ok(format!("{}\n{loaded:?}", render_all(&loaded.warnings, colour))),
        Err(errors) => Err(errors.render(colour)),
    }
}
