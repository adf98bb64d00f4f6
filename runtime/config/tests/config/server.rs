use crate::{config_of, errors_of, load_from, project, warnings_of};

fn trusted(text: &str) -> Option<Vec<String>> {
    let server = config_of(text).server;
    server.trusted_proxies.map(|proxies| proxies.iter().map(ToString::to_string).collect())
}

#[test]
fn trusted_proxies_are_addresses_and_ranges() {
    assert_eq!(trusted("name = \"a\"\n"), None);
    assert_eq!(trusted("[server]\ntrusted_proxies = []\n"), Some(Vec::new()));
    let listed = trusted("[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"::1\", \"fd00::/8\"]\n");
    assert_eq!(listed.unwrap_or_default(), ["127.0.0.1/32", "10.0.0.0/8", "::1/128", "fd00::/8"]);
}

#[test]
fn what_is_no_address_is_an_error_with_its_line() {
    let errors = errors_of(
        "[server]\ntrusted_proxies = [\"proxy.internal\", \"10.0.0.1/8\", \"10.0.0.0/33\", \"loopback\", \"*\"]\n",
    );
    for expected in [
        "`server.trusted_proxies` has no address in \"proxy.internal\"",
        "`server.trusted_proxies` has a range with bits behind its first 8: \"10.0.0.1/8\"",
        "it starts at 10.0.0.0/8",
        "`server.trusted_proxies` has no address in \"10.0.0.0/33\"",
        "`server.trusted_proxies` has no address in \"*\"",
        "aerostack.toml:2",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    assert!(warnings_of("[server]\ntrusted_proxy = []\n").contains("did you mean `trusted_proxies`?"));
    assert!(warnings_of("trusted_proxies = []\n").contains("did you mean `[server] trusted_proxies`?"));
}

#[test]
fn a_mounted_project_says_nothing_about_proxies() {
    let environment = project("[[functions]]\nproject = \"shop\"\nroute = \"/shop/*\"\n")
        .file("shop/aerostack.toml", "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n")
        .file("shop/src/index.ts", "");
    let loaded = load_from(&environment);
    assert_eq!(loaded.config.server.trusted_proxies, None);
    let warnings = aerostack_config::render_all(&loaded.warnings, aerostack_config::Colour::Never);
    assert!(warnings.contains("`[server]` of a mounted project has no effect"), "{warnings}");
}
