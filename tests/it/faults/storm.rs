use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use aerostack_database::script;
use aerostack_faults::{random_below, rounds};
use aerostack_tests::{Binary, TestProject, get, test};
use libtest_mimic::Trial;
use tokio::sync::watch;

use super::ask;

const KINDS: [&str; 7] = ["autocommit", "batch", "exec", "cache", "object", "multipart", "vectors"];
const KEYS: u64 = 6;
/// The least number of writes that a process lives for, of all kinds together.
const WRITES_A_ROUND: u64 = 40;

/// `POST /write?kind=&key=&version=` stores a version, `GET /read?kind=` gives the version of every key and refuses what is there
/// by half.
const WORKER: &str = r"
const KEYS = 6;
const PLACES = 5;
const body = (key, version) => `${key}:${version};`.repeat(1 + (version % 997));
const whole = (ok, what) => { if (!ok) throw new Error(`${what} is there by half`) };
const places = Array.from({ length: PLACES }, (_, place) => place);
const values = (version, place) => [version % 1000, place, Math.floor(version / 1000) % 1000, 1];
const groups = async (env, table) => {
  const { results } = await env.DB.prepare(`SELECT key, count(*) AS n, min(version) AS v, max(version) AS w FROM ${table} GROUP BY key`).all();
  return results.map(({ key, n, v, w }) => { whole(n === PLACES && v === w, key); return [key, v] });
};
const objects = async (env, prefix) => {
  const { objects } = await env.STORAGE.list({ prefix, include: ['customMetadata'] });
  return Promise.all(objects.map(async ({ key, customMetadata }) => {
    const version = Number(customMetadata.version);
    whole(await (await env.STORAGE.get(key)).text() === body(key, version), key);
    return [key, version];
  }));
};
const kinds = {
  autocommit: {
    write: (env, key, version) => env.DB.prepare('INSERT OR REPLACE INTO pages VALUES (?, ?, ?)').bind(key, version, body(key, version)).run(),
    async read(env) {
      const { results } = await env.DB.prepare('SELECT * FROM pages').all();
      return results.map((row) => { whole(row.body === body(row.key, row.version), row.key); return [row.key, row.version] });
    },
  },
  batch: {
    write: (env, key, version) => env.DB.batch([
      env.DB.prepare('DELETE FROM batches WHERE key = ?').bind(key),
      ...places.map((place) => env.DB.prepare('INSERT INTO batches VALUES (?, ?, ?)').bind(key, place, version)),
    ]),
    read: (env) => groups(env, 'batches'),
  },
  exec: {
    write: (env, key, version) => env.DB.exec([
      `DELETE FROM scripts WHERE key = '${key}'`,
      ...places.map((place) => `INSERT INTO scripts VALUES ('${key}', ${place}, ${version})`),
    ].join('\n')),
    read: (env) => groups(env, 'scripts'),
  },
  cache: {
    write: (env, key, version) => env.CACHE.put(key, body(key, version), { metadata: { version } }),
    async read(env) {
      const { keys } = await env.CACHE.list();
      return Promise.all(keys.map(async ({ name, metadata: { version } }) => {
        whole(await env.CACHE.get(name) === body(name, version), name);
        return [name, version];
      }));
    },
  },
  object: {
    write: (env, key, version) => env.STORAGE.put(key, body(key, version), { customMetadata: { version: String(version) } }),
    read: (env) => objects(env, 'object'),
  },
  multipart: {
    async write(env, key, version) {
      const upload = await env.STORAGE.createMultipartUpload(key, { customMetadata: { version: String(version) } });
      await upload.complete([await upload.uploadPart(1, body(key, version))]);
    },
    read: (env) => objects(env, 'multipart'),
  },
  vectors: {
    write: (env, key, version) => env.VECTORIZE.upsert(places.map((place) =>
      ({ id: `${key}/${place}`, values: values(version, place), metadata: { version } }))),
    async read(env) {
      const read = [];
      for (let key = 0; key < KEYS; key++) {
        const found = await env.VECTORIZE.getByIds(places.map((place) => `vectors-${key}/${place}`));
        if (found.length === 0) continue;
        const { version } = found[0].metadata;
        whole(found.length === PLACES && found.every((vector, place) =>
          vector.metadata.version === version && String([...vector.values]) === String(values(version, place))), `vectors-${key}`);
        read.push([`vectors-${key}`, version]);
      }
      return read;
    },
  },
};
export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const kind = kinds[searchParams.get('kind')];
    if (pathname === '/read') return Response.json(await kind.read(env));
    await kind.write(env, searchParams.get('key'), Number(searchParams.get('version')));
    return new Response('stored');
  },
};";

/// What is known of a key: what is there for certain, and what may be there instead.
#[derive(Default)]
struct Promise {
    acknowledged: Option<u64>,
    begun: Option<u64>,
}

/// By kind and key.
type Promises = Mutex<BTreeMap<(&'static str, String), Promise>>;

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "kill -9 under mixed load loses nothing that any binding acknowledged, and leaves nothing by half",
        async || {
            let project = TestProject::new(&[
                ("aerostack.toml", "name = \"storm\"\n"),
                (
                    "migrations/0001.sql",
                    "CREATE TABLE pages (key TEXT PRIMARY KEY, version INTEGER, body TEXT);
                 CREATE TABLE batches (key TEXT, place INTEGER, version INTEGER);
                 CREATE TABLE scripts (key TEXT, place INTEGER, version INTEGER);",
                ),
                ("src/index.ts", WORKER),
            ]);
            let promises = Promises::default();
            for round in 0..rounds().div_ceil(2) {
                let mut served = project.dev();
                check(&served, &promises).await;
                write_until_killed(&mut served, &promises, (round + 1) * 1_000_000).await;
            }
            let served = project.dev();
            check(&served, &promises).await;
            drop(served);
            let state = project.path().join(".aerostack");
            let files = sqlite_files(&state);
            assert!(files.len() >= 4, "a database, a cache, a bucket and an index: {files:?}");
            for file in files {
                let checked = script::execute(&file, "PRAGMA integrity_check").expect("the file can be read");
                assert_eq!(format!("{:?}", checked[0].cells), "[Text(\"ok\")]", "{}", file.display());
            }
        },
    ));
}

/// One client a kind writes as fast as it can, until the process is killed at a random moment.
async fn write_until_killed(served: &mut Binary, promises: &Promises, first_version: u64) {
    let acknowledged = watch::Sender::new(0);
    let killed = async {
        let enough = WRITES_A_ROUND + random_below(WRITES_A_ROUND);
        let mut so_far = acknowledged.subscribe();
        let _ = so_far.wait_for(|so_far| *so_far >= enough).await;
        for _ in 0..random_below(300) {
            tokio::task::yield_now().await;
        }
        served.signal("KILL");
    };
    let address = served.address;
    let clients = KINDS.map(|kind| write(address, kind, promises, &acknowledged, first_version));
    let [first, second, third, fourth, fifth, sixth, seventh] = clients;
    tokio::join!(killed, first, second, third, fourth, fifth, sixth, seventh);
    served.wait();
}

async fn write(
    address: SocketAddr,
    kind: &'static str,
    promises: &Promises,
    acknowledged: &watch::Sender<u64>,
    first_version: u64,
) {
    let lock = || promises.lock().expect("nobody panicked");
    for version in first_version.. {
        let key = format!("{kind}-{}", random_below(KEYS));
        let named = (kind, key.clone());
        lock().entry(named.clone()).or_default().begun = Some(version);
        let path = format!("/write?kind={kind}&key={key}&version={version}");
        match ask(address, "POST", &path).await {
            Some((200, text)) if text == "stored" => {
                *lock().entry(named).or_default() = Promise { acknowledged: Some(version), begun: None };
                acknowledged.send_modify(|acknowledged| *acknowledged += 1);
            }
            None => return,
            Some((status, text)) => panic!("{kind}: {status} {text}"),
        }
    }
}

async fn check(served: &Binary, promises: &Promises) {
    for kind in KINDS {
        let answer = get(served.address, &format!("/read?kind={kind}")).await;
        assert_eq!(answer.status, 200, "{kind}: {}\n{}", answer.text(), served.output());
        let found: BTreeMap<String, u64> = serde_json::from_value::<Vec<(String, u64)>>(answer.json())
            .expect("keys and versions")
            .into_iter()
            .collect();
        let mut promises = promises.lock().expect("nobody panicked");
        for number in 0..KEYS {
            let key = format!("{kind}-{number}");
            let found = found.get(&key).copied();
            let promise = promises.entry((kind, key.clone())).or_default();
            let is_kept = found == promise.acknowledged || (found.is_some() && found == promise.begun);
            assert!(
                is_kept,
                "{key} is {found:?}; {:?} was acknowledged, {:?} was in flight",
                promise.acknowledged, promise.begun
            );
            *promise = Promise { acknowledged: found, begun: None };
        }
    }
}

fn sqlite_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            files.extend(sqlite_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "sqlite") {
            files.push(path);
        }
    }
    files
}
