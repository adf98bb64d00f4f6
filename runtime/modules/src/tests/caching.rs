use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::tests::{Project, code};
use crate::{LoadCounts, Loader, MemoryReader};

fn counts(compiled: usize, from_memory: usize, from_disk: usize) -> LoadCounts {
    LoadCounts { compiled, from_memory, from_disk }
}

#[test]
fn a_reload_compiles_only_what_changed() {
    let project = Project::new([("src/index.ts", "import './a'; import './b'"), ("src/a.ts", "1"), ("src/b.ts", "2")]);
    assert_eq!(project.graph().counts(), counts(3, 0, 0));
    assert_eq!(project.graph().counts(), counts(0, 3, 0));
    project.files.write("/app/src/a.ts", "export const changed: number = 1");
    let graph = project.graph();
    assert_eq!(graph.counts(), counts(1, 2, 0));
    assert_eq!(code(&graph, "src/a.ts"), "export const changed = 1;\n");
}

#[test]
fn a_change_of_tsconfig_compiles_everything_anew() {
    let project = Project::new([("src/index.ts", "declare let d: any; @d export class A {}")]);
    project.graph();
    project.files.write("/app/tsconfig.json", r#"{"compilerOptions": {"experimentalDecorators": true}}"#);
    let graph = project.graph();
    assert_eq!(graph.counts(), counts(1, 0, 0));
    assert!(code(&graph, "src/index.ts").contains("_ts_decorate"));
}

#[test]
fn an_import_that_appears_later_is_found_without_compiling_the_importer_again() {
    let project = Project::new([("src/index.ts", "import './a'")]);
    project.errors();
    project.files.write("/app/src/a.ts", "");
    assert_eq!(project.graph().counts(), counts(1, 1, 0));
}

#[test]
fn files_long_gone_are_forgotten() {
    let project = Project::new([("src/index.ts", "'first'")]);
    project.graph();
    project.files.write("/app/src/index.ts", "'second'");
    for _ in 0..64 {
        project.graph();
    }
    project.files.write("/app/src/index.ts", "'first'");
    assert_eq!(project.graph().counts(), counts(1, 0, 0));
}

/// A loader that has just started, with a cache on disk.
fn cold(files: &Arc<MemoryReader>, folder: &Path) -> Loader {
    Loader::new(PathBuf::from("/app"), files.clone()).with_disk_cache(folder.to_path_buf())
}

const MAIN: &str = "import './a.js';\nexport const x: number = 1;";

fn project_on_disk() -> (Arc<MemoryReader>, tempfile::TempDir) {
    let files = MemoryReader::new([("/app/src/index.ts", MAIN), ("/app/src/a.js", "import('./a.js')")]);
    (Arc::new(files), tempfile::tempdir().expect("a temporary folder"))
}

#[track_caller]
fn load(loader: &Loader) -> (LoadCounts, String, String) {
    let graph = loader.load_graph(Path::new("src/index.ts")).unwrap_or_else(|errors| panic!("{errors}"));
    let map = graph.module(&graph.main).and_then(|main| main.source_map.clone()).expect("a source map");
    (graph.counts(), code(&graph, "src/index.ts"), map.json().to_string())
}

#[test]
fn a_cold_start_compiles_nothing_that_is_on_disk() {
    let (files, folder) = project_on_disk();
    let cache = folder.path().join("cache/modules");
    let (first, code, map) = load(&cold(&files, &cache));
    assert_eq!(first, counts(2, 0, 0));
    assert_eq!(load(&cold(&files, &cache)), (counts(0, 0, 2), code, map));
}

#[test]
fn a_damaged_entry_is_made_anew() {
    let (files, folder) = project_on_disk();
    let (_, code, map) = load(&cold(&files, folder.path()));
    for damage in [&b""[..], b"no newline", b"wrong sum\n{}", b"\xff\xfe\n\x00"] {
        for entry in std::fs::read_dir(folder.path()).expect("the cache") {
            std::fs::write(entry.expect("an entry").path(), damage).expect("it can be written");
        }
        assert_eq!(load(&cold(&files, folder.path())), (counts(2, 0, 0), code.clone(), map.clone()));
        assert_eq!(load(&cold(&files, folder.path())).0, counts(0, 0, 2), "it was repaired");
    }
    for entry in std::fs::read_dir(folder.path()).expect("the cache") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("an entry");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("it can be written");
    }
    assert_eq!(load(&cold(&files, folder.path())).0, counts(2, 0, 0), "a torn entry is no entry");
}

#[test]
fn no_unfinished_files_are_left_on_disk() {
    let (files, folder) = project_on_disk();
    load(&cold(&files, folder.path()));
    let names: Vec<PathBuf> =
        std::fs::read_dir(folder.path()).expect("the cache").map(|entry| entry.expect("one").path()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.extension().is_some_and(|extension| extension == "json")), "{names:?}");
}

#[test]
fn a_cache_that_cannot_be_written_only_costs_time() {
    let (files, folder) = project_on_disk();
    let in_the_way = folder.path().join("file");
    std::fs::write(&in_the_way, "").expect("it can be written");
    let loader = cold(&files, &in_the_way);
    assert_eq!(load(&loader).0, counts(2, 0, 0));
    assert_eq!(load(&loader).0, counts(0, 2, 0));
}

#[test]
fn a_graph_and_its_loader_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>(value: T) -> T {
        value
    }
    let Project { loader, .. } = Project::new([("src/index.ts", "1")]);
    let graph = shared(shared(loader).load_graph(Path::new("src/index.ts")).expect("it loads"));
    let resolved = std::thread::spawn(move || graph.resolve("./index", &graph.main).expect("it is there")).join();
    assert_eq!(resolved.expect("no panic").as_str(), "file:///app/src/index.ts");
}
