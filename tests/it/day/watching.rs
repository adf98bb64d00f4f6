//! What `dev` notices while it runs.

use std::os::unix::fs::symlink;

use aerostack_tests::{Binary, TestProject, get, test};
use libtest_mimic::Trial;

use super::{CONFIG, answering};

/// Saves and waits for the new answer.
async fn saves(project: &TestProject, served: &Binary, path: &str, text: &str) {
    let before = served.line_count();
    project.write(path, &answering(text));
    served.wait_for_after(before, "reloaded in");
    assert_eq!(get(served.address, "/").await.text(), text, "{}", served.output());
}

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("saves are seen after src was moved away and back", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("one"))]);
        let served = project.dev();
        let [source, aside] = ["src", "x"].map(|folder| project.path().join(folder));
        for round in ["two", "three"] {
            std::fs::rename(&source, &aside).expect("it can be moved");
            std::fs::rename(&aside, &source).expect("it can be moved");
            saves(&project, &served, "src/index.ts", round).await;
        }
        let before = served.line_count();
        std::fs::rename(&source, &aside).expect("it can be moved");
        served.wait_for_after(before, "still serving the last good version");
        assert_eq!(get(served.address, "/").await.text(), "three");
        let before = served.line_count();
        std::fs::rename(&aside, &source).expect("it can be moved");
        served.wait_for_after(before, "reloaded in");
        saves(&project, &served, "src/index.ts", "four").await;
    }));

    trials.push(test("saves are seen after src was removed and restored, as git checkout does", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            (
                "src/index.ts",
                "import { word } from './lib/word';\nexport default { fetch: () => new Response(word) };\n",
            ),
            ("src/lib/word.ts", "export const word = 'one';"),
        ]);
        let served = project.dev();
        for word in ["two", "three"] {
            let source = std::fs::read_to_string(project.path().join("src/index.ts")).expect("it is there");
            let before = served.line_count();
            std::fs::remove_dir_all(project.path().join("src")).expect("it can be removed");
            served.wait_for_after(before, "still serving the last good version");
            let before = served.line_count();
            project.write("src/lib/word.ts", "export const word = 'restored';");
            project.write("src/index.ts", &source);
            served.wait_for_after(before, "reloaded in");
            assert_eq!(get(served.address, "/").await.text(), "restored");
            let before = served.line_count();
            project.write("src/lib/word.ts", &format!("export const word = '{word}';"));
            served.wait_for_after(before, "~ src/lib/word.ts -> reloaded in");
            assert_eq!(get(served.address, "/").await.text(), word);
        }
    }));

    trials.push(test("a link that points elsewhere counts as a change, and saves behind it are seen", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            (
                "src/index.ts",
                "import { word } from './current/word';\nexport default { fetch: () => new Response(word) };\n",
            ),
            ("src/first/word.ts", "export const word = 'first';"),
            ("src/second/word.ts", "export const word = 'second';"),
        ]);
        let link = project.path().join("src/current");
        symlink("first", &link).expect("a link can be made");
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "first");
        let before = served.line_count();
        // As `ln -sfn` does.
        symlink("second", project.path().join("src/new")).expect("a link can be made");
        std::fs::rename(project.path().join("src/new"), &link).expect("it can be replaced");
        served.wait_for_after(before, "reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "second");
        let before = served.line_count();
        project.write("src/second/word.ts", "export const word = 'saved';");
        served.wait_for_after(before, "reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "saved");
    }));

    trials.push(test(
        "a fix in the config of a mounted project is seen although that config never was right",
        async || {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("main"))]);
            let served = project.dev();
            project.write("store/src/index.ts", &answering("mounted"));
            project.write("store/aerostack.toml", "name = ");
            let before = served.line_count();
            project.append(
                "aerostack.toml",
                "[[functions]]\nname = \"store\"\nproject = \"store\"\nroute = \"/store/*\"\n",
            );
            served.wait_for_after(before, "keeping the last good config");
            assert_eq!(get(served.address, "/").await.text(), "main");
            let before = served.line_count();
            project.write("store/aerostack.toml", "name = \"shop\"\n");
            served.wait_for_after(before, "reloaded in");
            assert_eq!(get(served.address, "/store/").await.text(), "mounted");
        },
    ));

    trials.push(test("dev says that a restart is needed where a save cannot apply a key, and only then", async || {
        let config =
            |port: u16, folder: &str| format!("name = \"shop\"\n[dev]\nport = {port}\npersist_to = \"{folder}\"\n");
        let project = TestProject::new(&[("aerostack.toml", &config(0, ".state")), ("src/index.ts", &answering("x"))]);
        let served = project.start(&["dev"]);
        let before = served.line_count();
        project.write("aerostack.toml", &config(8123, ".state"));
        served.wait_for_after(before, "warning: [dev] port has changed: restart aerostack dev to apply it");
        served.wait_for_after(before, "reloaded in");
        let before = served.line_count();
        project.write("aerostack.toml", &config(8123, ".elsewhere"));
        let line = served.wait_for_after(before, "has changed");
        assert_eq!(line, "warning: [dev] persist_to has changed: restart aerostack dev to apply it");
        served.wait_for_after(before, "reloaded in");
        let before = served.line_count();
        project.write("aerostack.toml", &config(0, ".state"));
        served.wait_for_after(before, "reloaded in");
        assert_eq!(served.output().matches("restart aerostack dev").count(), 2, "{}", served.output());
        drop(served);
        // Flags take precedence, so nothing changes.
        let served = project.dev_with(&["--persist-to", ".flag"]);
        project.write("aerostack.toml", &config(8123, ".elsewhere"));
        served.wait_for("reloaded in");
        assert!(!served.output().contains("restart"), "{}", served.output());
    }));
}
