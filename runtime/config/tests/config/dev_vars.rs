use aerostack_config::{Colour, LoadOptions, Loaded, Precedence, ValueSources, Variable, VariableValue, load_with};

use crate::{errors_from, load_from, project};

/// The variables of a `.dev.vars` as name and value.
fn parsed(text: &str) -> Vec<(String, String)> {
    let loaded = load_from(&project("").file(".dev.vars", text));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.config.workers[0].variables.iter().map(pair).collect()
}

fn pair(variable: &Variable) -> (String, String) {
    let VariableValue::Secret(value) = &variable.value else {
        panic!("{} is not a secret", variable.name);
    };
    (variable.name.clone(), value.expose().to_owned())
}

fn value_of(line: &str) -> String {
    parsed(line).remove(0).1
}

#[test]
fn lines_comments_quotes_and_blank_lines_are_read() {
    let text =
        "# a comment\n\nA=1\n  B = two words  \nC='single # quoted'\nD=\"double\" # comment\nexport E=exported\nF=\n";
    let expected =
        [("A", "1"), ("B", "two words"), ("C", "single # quoted"), ("D", "double"), ("E", "exported"), ("F", "")];
    let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(parsed(text), expected);
}

#[test]
fn a_hash_starts_a_comment_only_after_white_space() {
    assert_eq!(value_of("URL=postgres://me:p#ss@host/db # the main one"), "postgres://me:p#ss@host/db");
    assert_eq!(value_of("EMPTY=# nothing"), "");
}

#[test]
fn double_quotes_have_escapes_and_single_quotes_have_none() {
    assert_eq!(value_of(r#"A="line\nnext \"quoted\" \\n \x""#), "line\nnext \"quoted\" \\n \\x");
    assert_eq!(value_of(r"A='line\nnext'"), r"line\nnext");
    assert_eq!(value_of("A=`back \"and\" 'forth'`"), "back \"and\" 'forth'");
}

#[test]
fn a_quoted_value_may_span_lines_as_keys_in_pem_form_do() {
    let pairs = parsed("KEY=\"-----BEGIN-----\r\nabc\r\n-----END-----\"\r\nNEXT=1\r\n");
    assert_eq!(pairs[0].1, "-----BEGIN-----\nabc\n-----END-----");
    assert_eq!(pairs[1], ("NEXT".to_owned(), "1".to_owned()));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_not_matter() {
    assert_eq!(parsed("\u{feff}A=1\r\nB=2\r\n").len(), 2);
}

#[test]
fn equals_signs_belong_to_the_value() {
    assert_eq!(value_of("TOKEN=abc=="), "abc==");
}

#[test]
fn every_line_that_is_wrong_is_reported_by_its_position_and_never_shown() {
    let environment =
        project("").file(".dev.vars", "OK=1\njust-a-secret-token\n=novalue\nQ=\"no end secret\nR='a' secret\n");
    insta::assert_snapshot!(errors_from(&environment), @r#"
    error: `=` was expected after the name
    --> .dev.vars:2:20
     = help: a line is `KEY=value`, `KEY="value"` or `# a comment`

    error: a name of letters, digits and `_` was expected
    --> .dev.vars:3:1
     = help: a line is `KEY=value`, `KEY="value"` or `# a comment`

    error: the quoted value of "Q" has no end
    --> .dev.vars:4:3
     = help: a line is `KEY=value`, `KEY="value"` or `# a comment`

    error: text after the closing quote of "R"
    --> .dev.vars:5:7
     = help: a line is `KEY=value`, `KEY="value"` or `# a comment`
    "#);
}

#[test]
fn a_name_set_twice_has_its_last_value_and_a_warning() {
    let loaded = load_from(&project("").file(".dev.vars", "A=first\nB=x\nA=second\n"));
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].message, "\"A\" is set twice; the value of line 1 is not used");
    let pairs: Vec<_> = loaded.config.workers[0].variables.iter().map(pair).collect();
    assert_eq!(pairs[0], ("A".to_owned(), "second".to_owned()));
}

#[test]
fn a_file_that_is_not_text_is_an_error() {
    let rendered = errors_from(&project("").file(".dev.vars", b"A=\xff".to_vec()));
    assert!(rendered.contains(".dev.vars is not UTF-8 text"), "{rendered}");
}

#[test]
fn a_file_named_in_place_of_dev_vars_must_exist_and_the_environment_may_come_first() {
    let environment = project("[vars]\nC = \"$B\"\n")
        .file(".dev.vars", "A=dev\n")
        .file("live.vars", "A=file a\nB=file b\n")
        .with_variable("B", "set b")
        .with_variable("HOME", "/root");
    let read = |file: Option<&str>, precedence| {
        let values = ValueSources { file: file.map(Into::into), precedence };
        let options = LoadOptions { target: None, values };
        load_with("aerostack.toml".as_ref(), &options, &environment)
    };
    let pairs = |loaded: Loaded| loaded.config.workers[0].variables.iter().map(pair).collect::<Vec<_>>();
    let owned = |pairs: [(&str, &str); 3]| pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let by_environment = read(Some("live.vars"), Precedence::ProcessEnvironment).expect("the config is right");
    assert_eq!(pairs(by_environment), owned([("C", "set b"), ("A", "file a"), ("B", "set b")]));
    let by_file = read(Some("live.vars"), Precedence::File).expect("the config is right");
    assert_eq!(pairs(by_file), owned([("C", "file b"), ("A", "file a"), ("B", "file b")]));
    let missing = read(Some("nowhere.vars"), Precedence::File).expect_err("there is no such file");
    assert!(missing.render(Colour::Never).contains("there is no file /project/nowhere.vars"));
}
