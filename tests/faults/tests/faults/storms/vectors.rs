use std::path::Path;

use aerostack_bindings::Error;
use aerostack_faults::{Observed, Say, Storm, WriteStorm, block_on, content};
use aerostack_vectorize::{Query, Vector, VectorDriver, Writing};
use libtest_mimic::Failed;

use super::write_until_killed;
use crate::places::{check_integrity, vectors, vectors_file};

const KEYS: u64 = 40;
/// Vectors that one write has, all under one key.
const GROUP: usize = 8;
const DIMENSIONS: usize = 8;

/// `insert`, `upsert` and `deleteByIds`, while the graph is linked and its file written.
pub(super) struct VectorStorm;

impl Storm for VectorStorm {
    fn name(&self) -> &'static str {
        "a vector index killed while vectors are written and linked has every acknowledged write, none by half, and finds them"
    }

    fn work(&self, folder: &Path, say: &Say) {
        let driver = vectors(folder).expect("the index opens");
        // The first look is what loads the graph's file and has it grow.
        block_on(driver.query(nearest_to(&values("0/0", 1, 0)))).expect("the query goes through");
        write_until_killed(KEYS, say, async |key, version| {
            write(&*driver, key, version).await.expect("the write goes through");
        });
    }
}

impl WriteStorm for VectorStorm {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        let driver = vectors(folder)?;
        let mut observed = Observed::new();
        let mut live = Vec::new();
        for key in (0..super::WRITERS).flat_map(|writer| (0..KEYS).map(move |key| format!("{writer}/{key}"))) {
            let found = block_on(driver.get((0..GROUP).map(|place| id(&key, place)).collect()))?;
            let Some(first) = found.first() else { continue };
            let version = first.metadata.as_deref().and_then(version_of).ok_or("a vector without its version")?;
            let whole: Vec<Vector> = (0..GROUP).map(|place| vector(&key, version, place)).collect();
            if found != whole {
                return Err(format!("the vectors of {key} are not those of version {version}").into());
            }
            live.extend(whole);
            observed.insert(key, version);
        }
        check_searches(&*driver, &live)?;
        let file = vectors_file(folder);
        check_integrity(&file)?;
        check_leftovers(&file)?;
        Ok(observed)
    }
}

async fn write(driver: &dyn VectorDriver, key: &str, version: Option<u64>) -> Result<(), Error> {
    let Some(version) = version else {
        return driver.delete((0..GROUP).map(|place| id(key, place)).collect()).await.map(drop);
    };
    let group: Vec<Vector> = (0..GROUP).map(|place| vector(key, version, place)).collect();
    driver.write(group, Writing::Upsert).await.map(drop)
}

/// What is searched for is found, with the file's own values.
fn check_searches(driver: &dyn VectorDriver, live: &[Vector]) -> Result<(), Failed> {
    let samples: Vec<&Vector> = live.iter().step_by(37).collect();
    let mut missed = 0;
    for sample in &samples {
        let found = block_on(driver.query(nearest_to(&sample.values)))?;
        if found.len() != 5.min(live.len()) {
            return Err(format!("{} vectors were found of {}", found.len(), live.len()).into());
        }
        let is_live = |id: &str| live.iter().any(|vector| vector.id == id);
        if let Some(stray) = found.iter().find(|found| !is_live(&found.id)) {
            return Err(format!("{} was found and is not there", stray.id).into());
        }
        missed += usize::from(found.iter().all(|found| found.id != sample.id));
    }
    // A search through a graph may miss one; a graph that is not that of these vectors misses most.
    if missed * 10 > samples.len() + 9 {
        return Err(format!("{missed} of {} vectors are not found where they are", samples.len()).into());
    }
    Ok(())
}

fn check_leftovers(file: &Path) -> Result<(), Failed> {
    let known = ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "index.graph", "index.graph.new"];
    for entry in std::fs::read_dir(file.parent().ok_or("the file has a folder")?)? {
        let name = entry?.file_name();
        if !known.iter().any(|known| name == *known) {
            return Err(format!("{} is left over", name.display()).into());
        }
    }
    Ok(())
}

fn nearest_to(values: &[f32]) -> Query {
    let values = values.to_vec();
    Query { values, top_k: 5, namespace: None, filter: None, with_values: false, with_metadata: false }
}

fn vector(key: &str, version: u64, place: usize) -> Vector {
    let metadata = Some(format!("{{\"version\":{version}}}"));
    Vector { id: id(key, place), values: values(key, version, place), namespace: None, metadata }
}

fn id(key: &str, place: usize) -> String {
    format!("{key}/{place}")
}

fn values(key: &str, version: u64, place: usize) -> Vec<f32> {
    let mut bytes = content(&id(key, place), version);
    bytes.resize(DIMENSIONS, 7);
    bytes.iter().map(|byte| f32::from(*byte)).collect()
}

fn version_of(metadata: &str) -> Option<u64> {
    metadata.strip_prefix("{\"version\":")?.strip_suffix('}')?.parse().ok()
}
