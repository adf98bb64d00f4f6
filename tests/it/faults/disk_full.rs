use aerostack_faults::SmallDisk;
use aerostack_tests::{TestProject, get, send, test};
use libtest_mimic::Trial;

const DISK_BYTES: u64 = 8 * 1024 * 1024;

/// `POST /<kind>` writes 20 kB and says what comes of it.
const WORKER: &str = "let number = 0;
const writes = {
  db: (env, body) => env.DB.prepare('INSERT INTO pages VALUES (?)').bind(body).run(),
  cache: (env, body) => env.CACHE.put(String(number++), body),
  queue: (env, body) => env.QUEUE.send(body),
  storage: (env, body) => env.STORAGE.put(String(number++), body),
  vectorize: (env) => env.VECTORIZE.upsert(Array.from({ length: 5 }, () =>
    ({ id: String(number++), values: Array.from({ length: 1000 }, (_, place) => place) }))),
};
export default {
  async fetch(request, env) {
    const kind = new URL(request.url).pathname.slice(1);
    if (kind === 'alive') return new Response('alive');
    try {
      await writes[kind](env, 'x'.repeat(20_000));
      return new Response('stored');
    } catch (error) {
      return new Response(error.message, { status: 507 });
    }
  },
};";

const KINDS: [&str; 5] = ["db", "cache", "queue", "storage", "vectorize"];

pub(super) fn trials(trials: &mut Vec<Trial>) {
    let name =
        "on a full disk every binding says so with the file, the process lives, and all go on when there is room";
    if let Err(reason) = SmallDisk::mount(DISK_BYTES) {
        let name = format!("{name} (ignored: no small disk can be mounted: {reason})");
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
        return;
    }
    trials.push(test(name, async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"full\"\n"),
            ("migrations/0001.sql", "CREATE TABLE pages (body TEXT);"),
            ("src/index.ts", WORKER),
        ]);
        let disk = SmallDisk::mount(DISK_BYTES).expect("it could be mounted before");
        let state = disk.path().join("state");
        let state = state.to_str().expect("the path is a text");
        let mut served = project.dev_with(&["--persist-to", state]);
        let address = served.address;
        let write = async |kind: &str| {
            let answer = send(address, "POST", &format!("/{kind}"), &[], b"").await;
            (answer.status, answer.text())
        };
        for kind in KINDS {
            assert_eq!(write(kind).await, (200, "stored".to_owned()), "{kind}");
        }
        disk.fill().expect("it can be filled");
        for kind in KINDS {
            let mut refused = None;
            // A log may have room that it was given before.
            for _ in 0..500 {
                let (status, text) = write(kind).await;
                if status != 200 {
                    refused = Some((status, text));
                    break;
                }
            }
            let (status, text) = refused.unwrap_or_else(|| panic!("{kind} finds room on a full disk"));
            let is_told = ["disk is full", "disk I/O error", "no space left"].iter().any(|cause| text.contains(cause));
            assert!(status == 507 && is_told, "{kind}: {status} {text}");
            // The file is named, and where the project lies on the machine is not.
            let place = disk.path().to_str().expect("the path is a text");
            assert!(text.contains("state/") && !text.contains(place), "{kind}: {text}");
        }
        assert_eq!(get(address, "/alive").await.text(), "alive");
        disk.make_room().expect("the ballast can be removed");
        for kind in KINDS {
            assert_eq!(write(kind).await, (200, "stored".to_owned()), "{kind}");
        }
        served.signal("INT");
        assert!(served.wait(), "{}", served.output());
    }));
}
