use crate::tests::{Project, imported_as, paths};

const HONO: [(&str, &str); 5] = [
    (
        "node_modules/hono/package.json",
        r#"{
            "name": "hono", "type": "module", "main": "dist/cjs/index.js", "module": "dist/index.js",
            "exports": {
                ".": { "types": "./dist/types/index.d.ts", "import": "./dist/index.js", "require": "./dist/cjs/index.js" },
                "./cors": { "import": "./dist/middleware/cors/index.js", "require": "./dist/cjs/cors.js" },
                "./jsx/jsx-runtime": { "import": "./dist/jsx/jsx-runtime.js" }
            }
        }"#,
    ),
    ("node_modules/hono/dist/index.js", "import { compose } from './compose.js';\nexport class Hono { use = compose }"),
    ("node_modules/hono/dist/compose.js", "export const compose = () => {};"),
    ("node_modules/hono/dist/middleware/cors/index.js", "export const cors = () => {};"),
    ("node_modules/hono/dist/jsx/jsx-runtime.js", "export const jsx = () => {};"),
];

#[test]
fn a_package_is_found_through_its_exports() {
    assert_eq!(imported_as("hono", &HONO), "node_modules/hono/dist/index.js");
    assert_eq!(imported_as("hono/cors", &HONO), "node_modules/hono/dist/middleware/cors/index.js");
    let main = [("src/index.ts", "import { Hono } from 'hono'; export default new Hono()")];
    let graph = Project::new(HONO.into_iter().chain(main)).graph();
    assert_eq!(paths(&graph), ["node_modules/hono/dist/compose.js", "node_modules/hono/dist/index.js", "src/index.ts"]);
}

#[test]
fn a_package_without_exports_is_found_through_module_then_main_then_index() {
    let index = ("node_modules/a/index.js", "export {}");
    let files = |package| {
        [("node_modules/a/package.json", package), ("node_modules/a/esm.js", ""), ("node_modules/a/lib/m.js", "")]
    };
    assert_eq!(imported_as("a", &files(r#"{"module":"esm.js","main":"lib/m.js"}"#)), "node_modules/a/esm.js");
    assert_eq!(imported_as("a", &files(r#"{"main":"./lib/m"}"#)), "node_modules/a/lib/m.js");
    assert_eq!(imported_as("a", &[("node_modules/a/package.json", "{}"), index]), "node_modules/a/index.js");
    assert_eq!(imported_as("a", &[index]), "node_modules/a/index.js");
    assert_eq!(imported_as("a/lib/m", &files("{}")), "node_modules/a/lib/m.js");
}

#[test]
fn a_scoped_package_and_the_nearest_copy_are_found() {
    let files = [
        ("node_modules/@s/p/package.json", r#"{"exports":{".":"./i.js","./*":"./lib/*.js"}}"#),
        ("node_modules/@s/p/i.js", ""),
        ("node_modules/@s/p/lib/x/y.js", ""),
        ("src/node_modules/a/index.js", ""),
        ("node_modules/a/index.js", ""),
    ];
    assert_eq!(imported_as("@s/p", &files), "node_modules/@s/p/i.js");
    assert_eq!(imported_as("@s/p/x/y", &files), "node_modules/@s/p/lib/x/y.js");
    assert_eq!(imported_as("a", &files), "src/node_modules/a/index.js");
}

#[test]
fn packages_linked_inside_the_project_find_their_own_dependencies() {
    let project = Project::new([
        ("src/index.ts", "import 'a'"),
        ("node_modules/.store/a@1/node_modules/a/index.js", "import 'b'"),
        ("node_modules/.store/b@1/node_modules/b/index.js", "export {}"),
    ]);
    project.files.link("/app/node_modules/a", "/app/node_modules/.store/a@1/node_modules/a");
    project.files.link("/app/node_modules/.store/a@1/node_modules/b", "/app/node_modules/.store/b@1/node_modules/b");
    assert_eq!(
        paths(&project.graph()),
        [
            "node_modules/.store/a@1/node_modules/a/index.js",
            "node_modules/.store/b@1/node_modules/b/index.js",
            "src/index.ts"
        ]
    );
}

#[test]
fn a_package_can_import_itself_and_its_private_names() {
    let project = Project::new([
        ("src/index.ts", "import 'a'"),
        (
            "node_modules/a/package.json",
            r##"{"name":"a","exports":{".":"./i.js","./x":"./x.js"},"imports":{"#y":{"node":"./n.js","default":"./y.js"}}}"##,
        ),
        ("node_modules/a/i.js", "import 'a/x'; import '#y'"),
        ("node_modules/a/x.js", ""),
        ("node_modules/a/y.js", ""),
    ]);
    let graph = project.graph();
    assert_eq!(paths(&graph), ["node_modules/a/i.js", "node_modules/a/x.js", "node_modules/a/y.js", "src/index.ts"]);
}

#[test]
fn a_package_that_is_not_installed_says_how_to_get_it() {
    let frame = Project::new([("src/index.ts", "import { z } from 'zod';\nz;")]).frame();
    let expected = "error: package \"zod\" is not installed
 --> src/index.ts:1:19
  |
1 | import { z } from 'zod';
  |                   ^^^^^
2 | z;
  = hint: run `npm install zod`, or write \"./zod\" if a file is meant";
    assert_eq!(frame, expected);
}

#[test]
fn a_commonjs_package_says_so_where_it_is_imported() {
    for text in [
        "module.exports = {}",
        "exports.a = 1",
        "const fs = require('fs')",
        "(function (root) { module.exports = root })(this)",
    ] {
        let files = [("src/index.ts", "import _ from 'lodash';\n_;"), ("node_modules/lodash/index.js", text)];
        let problem = Project::new(files).problem();
        assert_eq!(problem.message, "node_modules/lodash/index.js is a CommonJS module, which a worker cannot load");
        assert_eq!(problem.location(), "src/index.ts:1:15");
        assert!(problem.hint.is_some_and(|hint| hint.contains("ES modules")));
    }
}

#[test]
fn a_package_for_require_or_for_node_alone_says_so() {
    for condition in ["require", "node"] {
        let package = format!(r#"{{"exports":{{".":{{"{condition}":"./a.cjs"}}}}}}"#);
        let files =
            [("src/index.ts", "import 'a'"), ("node_modules/a/package.json", &*package), ("node_modules/a/a.cjs", "")];
        let problem = Project::new(files).problem();
        assert!(problem.message.contains("only as CommonJS or for Node.js"), "{}", problem.message);
    }
}

#[test]
fn an_es_module_with_a_require_of_its_own_is_no_commonjs() {
    let bundle = "const require = (name) => { throw name };\nrequire('x');\nmodule.exports; export default 1;";
    assert_eq!(imported_as("a", &[("node_modules/a/index.js", bundle)]), "node_modules/a/index.js");
}

#[test]
fn what_a_package_does_not_export_cannot_be_imported() {
    let files = HONO.into_iter().chain([("src/index.ts", "import 'hono/dist/compose.js'")]);
    let problem = Project::new(files).problem();
    assert_eq!(problem.message, "package \"hono\" does not export \"./dist/compose.js\"");
}

#[test]
fn a_package_that_contradicts_itself_is_called_broken() {
    for (package, reason) in [
        (r#"{"exports":"./gone.js"}"#, "its exports name ./gone.js, which is not there"),
        (r#"{"main":"gone.js"}"#, "its package.json names gone.js, which is not there"),
        (r#"{"types":"index.d.ts","main":""}"#, "it has no code, only types perhaps"),
        ("{", "its package.json is not valid JSON"),
    ] {
        let files = [("src/index.ts", "import 'a'"), ("node_modules/a/package.json", package)];
        let problem = Project::new(files).problem();
        assert!(problem.message.contains(reason), "{}", problem.message);
    }
}

#[test]
fn an_import_for_types_alone_needs_no_package() {
    let project = Project::new([(
        "src/index.ts",
        "import type { D1Database } from '@cloudflare/workers-types';
         import { KVNamespace } from '@cloudflare/workers-types';
         import { Env } from './env';
         export default { db: null as D1Database | KVNamespace | Env | null }",
    )]);
    assert_eq!(paths(&project.graph()), ["src/index.ts"]);
}

#[test]
fn names_that_are_no_package_are_refused() {
    for specifier in ["@", "@scope", ".hidden", "a%2fb", "node_modules/a", "a\\b", "@/"] {
        let main = format!("import {};", serde_json::Value::from(specifier));
        let problem = Project::new([("src/index.ts", &*main)]).problem();
        assert!(problem.message.contains("is neither a path nor the name of a package"), "{}", problem.message);
    }
}
