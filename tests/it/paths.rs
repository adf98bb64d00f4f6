//! Names from the config and from user code never lead out of the state folder.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use aerostack_tests::{TestProject, get, send, test};
use libtest_mimic::Trial;

const CONFIG: &str = "name = \"shop\"\n";

/// Writes a key into the bucket, the cache and the vector index, reads it back, and lists.
const STORES: &str = "export default { async fetch(request, env) { \
       const keys = await request.json(); const failures = []; \
       for (const [place, key] of keys.entries()) { const value = 'value ' + place; \
         try { await env.STORAGE.put(key, value); } catch (error) { failures.push(['storage', place, error.message]); } \
         try { await env.CACHE.put(key, value); } catch (error) { failures.push(['cache', place, error.message]); } } \
       const read = []; \
       for (const key of keys) read.push([await env.STORAGE.get(key).then((object) => object?.text() ?? null, () => null), \
         await env.CACHE.get(key).catch(() => null)]); \
       return Response.json({ read, failures }); } }";

/// Writes to each binding and reads it back.
const USES_ALL: &str = "export default { async fetch(request, env) { \
       await env.DB.exec('CREATE TABLE t (x)'); \
       const { meta } = await env.DB.prepare('INSERT INTO t VALUES (1)').run(); \
       await env.CACHE.put('key', 'a text'); await env.STORAGE.put('key', 'an object'); \
       await env.VECTORIZE.insert([{ id: 'v', values: [1, 0] }]); \
       const { matches } = await env.VECTORIZE.query([1, 0]); \
       return new Response([meta.changes, await env.CACHE.get('key'), \
         await (await env.STORAGE.get('key')).text(), matches[0].id].join(' ')); } }";

/// As TOML writes them.
const ODD_IDS: [&str; 11] = [
    "../escaped",
    "..",
    ".",
    "/etc/x",
    "a/b",
    "a\\\\b",
    "a\\u0000b",
    ".hidden",
    "a@other",
    "caf\u{e9}",
    concat!(
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    ),
];

/// Nothing was written outside of the state folder, and whatever it was written for, names of files are of our making.
fn assert_only_state_was_written(project: &TestProject) {
    for path in below(&project.path().join(".aerostack")) {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let is_ours = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(name.bytes().all(is_ours), "{}", path.display());
    }
    let files: BTreeSet<String> = std::fs::read_dir(project.path())
        .expect("the project can be read")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, [".aerostack", "aerostack.toml", "src"].map(str::to_owned).into());
}

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("keys of objects and entries are no paths, and each is its own", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", STORES)]);
        let served = project.dev();
        let outside = project.path().parent().expect("a temporary folder has a parent").join("escaped-by-a-key");
        let climbing = format!("../../../../..{}", outside.display());
        let long = "k".repeat(512);
        let keys: &[&str] = &[
            "../../escaped",
            "..",
            ".",
            "../",
            "/etc/passwd",
            "/absolute",
            "..\\..\\escaped",
            "a/../../../escaped",
            "./a",
            "a//b",
            "a/",
            "nul\0byte",
            "nul",
            "CON",
            "aux.txt",
            "%2e%2e%2fescaped",
            "..%00/",
            "metadata.sqlite",
            "lock",
            "objects/00/x",
            "-rf",
            "~",
            "~root",
            "$HOME",
            "`id`",
            "a\nb",
            "key",
            "KEY",
            "Key",
            "\u{e9}",
            "e\u{301}",
            "\u{212b}",
            "\u{c5}",
            "\u{202e}txt.exe",
            "\u{ff0e}\u{ff0e}/",
            " ",
            "\t",
            &long,
            &climbing,
        ];
        let body = serde_json::to_string(keys).expect("texts are JSON");
        let answer = send(served.address, "POST", "/", &[], body.as_bytes()).await.json();
        let failed: BTreeSet<(String, u64)> = answer["failures"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|failure| {
                (failure[0].as_str().unwrap_or_default().to_owned(), failure[1].as_u64().unwrap_or_default())
            })
            .collect();
        for (place, key) in keys.iter().enumerate() {
            let expected = |kind: &str| {
                let refused = failed.contains(&(kind.to_owned(), place as u64));
                if refused { serde_json::Value::Null } else { format!("value {place}").into() }
            };
            let read = &answer["read"][place];
            assert_eq!((&read[0], &read[1]), (&expected("storage"), &expected("cache")), "{key:?}: {answer}");
        }
        // Workers refuse two names of cache entries; nothing else was refused.
        let refused: Vec<(&str, &str)> =
            failed.iter().map(|(kind, place)| (kind.as_str(), keys[*place as usize])).collect();
        assert_eq!(refused, [("cache", ".."), ("cache", ".")], "{answer}");
        assert!(!outside.exists() && !project.path().join("escaped").exists());
        assert_only_state_was_written(&project);
    }));

    trials.push(test("ids of the config never lead out of the state folder", async || {
        for id in ODD_IDS {
            let config = format!(
                "{CONFIG}[[d1_databases]]\nbinding = \"DB\"\ndatabase_name = \"{id}\"\n\
                 [[kv_namespaces]]\nbinding = \"CACHE\"\nid = \"{id}\"\n\
                 [[r2_buckets]]\nbinding = \"STORAGE\"\nbucket_name = \"{id}\"\n\
                 [[vectorize]]\nbinding = \"VECTORIZE\"\nindex_name = \"{id}\"\n"
            );
            let project = TestProject::new(&[("aerostack.toml", &config), ("src/index.ts", USES_ALL)]);
            let served = project.dev();
            assert_eq!(get(served.address, "/").await.text(), "1 a text an object v", "{id:?}");
            assert_only_state_was_written(&project);
        }
    }));

    trials.push(test("names of queues that would leave the state folder are errors with their line", async || {
        for name in ODD_IDS {
            let config = format!("{CONFIG}[[queues.producers]]\nbinding = \"QUEUE\"\nqueue = \"{name}\"\n");
            let project = TestProject::new(&[("aerostack.toml", &config), ("src/index.ts", STORES)]);
            let run = project.run(&["serve", "--port", "0"]);
            assert!(!run.succeeded, "{name:?}");
            assert!(run.stderr.contains("`queue` cannot be "), "{name:?}: {}", run.stderr);
            assert!(run.stderr.contains("aerostack.toml:4"), "{}", run.stderr);
            assert!(!project.path().join(".aerostack").exists(), "{name:?}");
        }
    }));

    trials.push(test("the state folder is for this user alone, whatever the umask", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("migrations/0001_a.sql", "CREATE TABLE a (x)"),
            ("src/index.ts", STORES),
        ]);
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert!(project.run(&["db", "migrate", "apply"]).succeeded);
        let state = project.path().join(".aerostack");
        assert_eq!(mode(&state), 0o700);
        let served = project.dev();
        send(served.address, "POST", "/", &[], b"[\"a\"]").await;
        for folder in below(&state).iter().filter(|path| path.is_dir()) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
        // A folder that somebody made stays as it is.
        let other = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", STORES)]);
        let state = other.path().join(".aerostack");
        std::fs::create_dir(&state).expect("a folder can be made");
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).expect("it is ours");
        let served = other.dev();
        assert_eq!(get(served.address, "/").await.status, 500);
        assert_eq!(mode(&state), 0o750);
    }));

    trials.push(test("a link among the objects of a bucket serves nothing of where it leads", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", STORES)]);
        let outside = TestProject::new(&[("secret.txt", "a file of somebody else"), ("00/secret.txt", "another")]);
        let served = project.dev();
        send(served.address, "POST", "/", &[], b"[\"a\"]").await;
        drop(served);
        let objects = project.path().join(".aerostack/storage/local-storage/objects");
        assert!(objects.is_dir(), "objects are where they were");
        symlink(outside.path(), objects.join("link")).expect("a link can be made");
        symlink(outside.path().join("secret.txt"), objects.join("0".repeat(32))).expect("a link can be made");
        let served = project.dev();
        let keys = serde_json::json!(["link/secret.txt", "link", "0".repeat(32), "00/secret.txt"]).to_string();
        let answer = send(served.address, "PUT", "/", &[], keys.as_bytes()).await.json();
        for place in 0..4 {
            assert_eq!(answer["read"][place][0], format!("value {place}"), "{answer}");
        }
        drop(served);
        let kept = std::fs::read_to_string(outside.path().join("secret.txt")).expect("the file is still there");
        assert_eq!(kept, "a file of somebody else");
        assert_eq!(below(outside.path()).len(), 3, "nothing was written where the link leads");
    }));
}

/// All files and folders below a folder; links are not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let entry = entry.expect("an entry can be read");
        found.push(entry.path());
        if entry.file_type().expect("an entry has a type").is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found
}
