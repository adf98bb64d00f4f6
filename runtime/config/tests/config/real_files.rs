use std::fs;
use std::path::Path;

use aerostack_config::{Environment, MemoryEnvironment, ProcessEnvironment, load, locate};

#[test]
fn a_project_on_the_disk_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("src")).expect("a folder");
    fs::write(folder.path().join("src/index.js"), "").expect("a file");
    fs::write(folder.path().join("aerostack.toml"), "name = \"disk\"\n[vars]\nWHERE = \"$PATH\"\n").expect("a file");
    let environment = ProcessEnvironment::new().expect("a current folder");
    assert!(environment.current_directory().is_absolute());
    let file = locate(folder.path(), None, &environment).expect("the config is found");
    let loaded = load(&file, None, &environment).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.name, "disk");
    assert_eq!(loaded.config.root, folder.path());
    assert_eq!(loaded.config.workers[0].main, folder.path().join("src/index.js"));
}

#[test]
fn aerostack_toml_comes_before_wranglers_files_and_those_in_wranglers_order() {
    let mut environment = MemoryEnvironment::new();
    for name in ["wrangler.toml", "wrangler.jsonc", "wrangler.json", "aerostack.toml"] {
        environment = environment.file(name, "");
        let found = locate(Path::new("."), None, &environment).expect("the config is found");
        assert_eq!(found, Path::new("/project").join(name));
    }
}

#[test]
fn an_explicit_path_is_a_file_or_a_folder() {
    let environment = MemoryEnvironment::new().file("sub/aerostack.toml", "").file("other.toml", "");
    let find = |path: &str| locate(Path::new("."), Some(Path::new(path)), &environment);
    assert_eq!(find("sub").expect("found"), Path::new("/project/sub/aerostack.toml"));
    assert_eq!(find("other.toml").expect("found"), Path::new("/project/other.toml"));
    assert_eq!(find("none.toml").expect_err("not there").to_string(), "error: there is no file none.toml");
}

#[test]
fn the_nearest_config_above_the_folder_is_found_unless_a_folder_is_named() {
    let environment = MemoryEnvironment::new().file("aerostack.toml", "").file("apps/shop/wrangler.toml", "");
    for (start, found) in [
        (".", "aerostack.toml"),
        ("src/deep", "aerostack.toml"),
        ("apps", "aerostack.toml"),
        ("apps/shop", "apps/shop/wrangler.toml"),
        ("apps/shop/src", "apps/shop/wrangler.toml"),
    ] {
        let located = locate(Path::new(start), None, &environment).expect("the config is found");
        assert_eq!(located, Path::new("/project").join(found), "{start}");
    }
    let errors = locate(Path::new("."), Some(Path::new("apps")), &environment).expect_err("it has none");
    assert!(errors.to_string().starts_with("error: no aerostack.toml in apps\n"), "{errors}");
}

#[test]
fn an_address_to_listen_on_is_a_number_or_one_of_two_names() {
    for (text, address) in [
        ("localhost", Some("127.0.0.1")),
        ("*", Some("0.0.0.0")),
        ("192.0.2.1", Some("192.0.2.1")),
        ("::1", Some("::1")),
        ("[::1]", Some("::1")),
        ("[127.0.0.1]", None),
        ("example.com", None),
        ("", None),
    ] {
        let expected = address.map(|address| address.parse().expect("an address"));
        assert_eq!(aerostack_config::listen_address(text), expected, "{text:?}");
    }
}

#[test]
fn a_folder_without_a_config_is_an_error_that_says_what_to_write() {
    let errors = locate(Path::new("app"), None, &MemoryEnvironment::new()).expect_err("nothing is there");
    insta::assert_snapshot!(errors, @r#"
    error: no aerostack.toml in app or any folder above it
     |
     = help: an aerostack.toml with one line is enough for a worker in src/index.ts: `name = "my-app"`
     = help: a wrangler.toml, wrangler.json or wrangler.jsonc works too
    "#);
}

#[test]
fn a_config_that_vanished_is_an_error() {
    let errors = load(Path::new("aerostack.toml"), None, &MemoryEnvironment::new()).expect_err("nothing is there");
    assert!(errors.to_string().starts_with("error: could not read aerostack.toml: "), "{errors}");
}
