use std::path::Path;

use crate::tests::code;
use crate::{DiskReader, Loader, ModuleCode};

const RECIPES: &str = "/work/shared/seed/recipes";

#[test]
fn the_six_recipes_load() {
    let folder = Path::new(RECIPES);
    if !folder.is_dir() {
        println!("skipped: {RECIPES} is not there");
        return;
    }
    let loader = Loader::new(folder.to_path_buf(), DiskReader);
    for name in ["background-jobs", "cron", "data-ai-insights", "rag", "rest-api", "webhooks"] {
        let graph = loader.load_graph(Path::new(&format!("{name}.ts"))).unwrap_or_else(|errors| panic!("{errors}"));
        let main = graph.module(&graph.main).expect("the main module");
        let ModuleCode::Text(code) = &main.code else { panic!("{name} is text") };
        assert!(code.contains("export default {"), "{code}");
        assert!(!code.contains("interface Env") && !code.contains(": Promise<Response>"), "{code}");
    }
}

#[test]
fn a_project_on_disk_loads_like_one_in_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path();
    for (path, text) in [
        ("src/index.ts", "import { b } from '@shared/b.js'; import sql from '../q.sql'; export default [b, sql]"),
        ("shared/b.ts", "export const b: string = 'b'"),
        ("q.sql", "SELECT 1"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }
    let loader = Loader::new(root.to_path_buf(), DiskReader);
    let graph = loader.load_graph(&root.join("src/index.ts")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(graph.modules.len(), 3);
    let root = root.canonicalize().expect("it is there");
    assert_eq!(code(&graph, root.join("shared/b.ts").to_str().expect("UTF-8")), "export const b = 'b';\n");
}

#[cfg(unix)]
#[test]
fn a_link_on_disk_does_not_lead_out_of_the_project() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("app");
    std::fs::create_dir_all(&root).expect("it can be made");
    std::fs::write(folder.path().join("secret.ts"), "export default 1").expect("it can be written");
    std::fs::write(root.join("index.ts"), "import './link'").expect("it can be written");
    std::os::unix::fs::symlink(folder.path().join("secret.ts"), root.join("link.ts")).expect("a link");
    let errors = Loader::new(root, DiskReader).load_graph(Path::new("index.ts")).expect_err("it leads out");
    assert!(errors.to_string().contains("\"./link\" leads out of the project"), "{errors}");
}
