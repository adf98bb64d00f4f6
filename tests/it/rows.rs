//! Rows as a worker sees them: made one way for a statement that is new, and another way for one that has run often.

use aerostack_tests::{TestServer, get, test};
use libtest_mimic::Trial;

/// Runs one statement again and again and tells how its rows looked, each way once.
const ROWS: &str = r#"
    Object.defineProperty(Object.prototype, 'set', { set(value) { globalThis.left = value }, configurable: true });
    const names = ['__proto__', 'constructor', 'set', 'a"b', "a'b", '\\', '1', 'x', 'x', '', 'line\nfeed\u2028', '\u{1f600}',
        ']: 0 }; globalThis.left = 1; ({ ["'];
    const sql = 'SELECT ' + names.map((name, index) => `${index} AS "${name.replaceAll('"', '""')}"`).join(', ');
    export default { async fetch(request, env) {
        const looks = new Set();
        for (let run = 0; run < 30; run++) {
            const statement = env.DB.prepare(sql);
            const { results: [row] } = await statement.all();
            const first = await statement.first();
            for (const each of [row, first]) {
                looks.add(JSON.stringify([Object.entries(Object.getOwnPropertyDescriptors(each)), Object.getPrototypeOf(each) === Object.prototype]));
            }
        }
        const [first] = looks;
        return Response.json({ looks: looks.size, names: JSON.parse(first)[0].map(([name]) => name), left: typeof globalThis.left });
    } };"#;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "rows look the same however often their statement has run, whatever its columns are called",
        async || {
            let server = TestServer::start(ROWS).await;
            let told = get(server.address, "/").await.json();
            let names = [
                "1",
                "__proto__",
                "constructor",
                "set",
                "a\"b",
                "a'b",
                "\\",
                "x",
                "",
                "line\nfeed\u{2028}",
                "\u{1f600}",
            ];
            let names = [&names[..], &["]: 0 }; globalThis.left = 1; ({ [\""]].concat();
            assert_eq!(told, serde_json::json!({ "looks": 1, "names": names, "left": "undefined" }));
        },
    ));
}
