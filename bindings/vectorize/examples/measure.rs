//! Writes vectors into an index, searches it exactly and through its graph, and prints what that took as one line of JSON.
//! `benches/vectors/run` calls it with the data that it gives to the peers too.
//!
//! `measure <vectors.f32> <queries.f32> <dimensions> <folder>`: both files are float32 without anything around, one vector after
//! the other; the index is made in the folder.

#![expect(clippy::print_stdout, reason = "data goes to standard output")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aerostack_bindings::{Memory, SystemClock};
use aerostack_vectorize::drivers::sqlite::{SqliteOptions, SqliteVectors};
use aerostack_vectorize::{Match, Metric, Query, Vector, VectorDriver, Writing};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BATCH: usize = 1000;
const TOP_K: usize = 10;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vectors, queries, dimensions, folder] = arguments.as_slice() else {
        return Err("measure <vectors.f32> <queries.f32> <dimensions> <folder>".into());
    };
    let dimensions: usize = dimensions.parse()?;
    let path = Path::new(folder).join("measure.sqlite");
    let queries = read_vectors(Path::new(queries), dimensions)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (count, write_time) = write(&path, Path::new(vectors), dimensions).await?;

        let exact = open(&path, usize::MAX)?;
        let started = Instant::now();
        exact.query(query(&queries[0])).await?;
        let load_time = started.elapsed();
        let (truth, exact_times) = search(&exact, &queries).await?;
        let memory = exact.progress();
        drop(exact);

        let approximate = open(&path, 0)?;
        let started = Instant::now();
        approximate.query(query(&queries[0])).await?;
        while approximate.progress().is_linking {
            tokio::time::sleep(Duration::from_millis(20)).await;
            approximate.describe().await?;
        }
        let link_time = started.elapsed();
        let (found, approximate_times) = search(&approximate, &queries).await?;
        let progress = approximate.progress();

        let line = json!({
            "vectors": count,
            "write_s": write_time.as_secs_f64(),
            "load_s": load_time.as_secs_f64(),
            "link_s": link_time.as_secs_f64(),
            "exact_ms": milliseconds(&exact_times),
            "approximate_ms": milliseconds(&approximate_times),
            "breadth": progress.breadth,
            "recall": recall(&truth, &found),
            "ids": truth.iter().map(|matches| ids(matches)).collect::<Vec<_>>(),
            "vector_bytes": memory.vector_bytes,
            "other_bytes": memory.other_bytes,
            "graph_bytes": progress.graph_bytes,
        });
        println!("{line}");
        Ok(())
    })
}

fn open(path: &Path, approximate_from: usize) -> Outcome<SqliteVectors> {
    let (name, path) = ("VECTORIZE".to_owned(), PathBuf::from(path));
    let options = SqliteOptions {
        name,
        path,
        dimensions: None,
        metric: Metric::Cosine,
        approximate_from,
        memory: Memory::unlimited(),
    };
    Ok(SqliteVectors::open(&options, Arc::new(SystemClock))?)
}

async fn write(path: &Path, vectors: &Path, dimensions: usize) -> Outcome<(usize, Duration)> {
    let index = open(path, usize::MAX)?;
    let mut written = 0;
    let mut took = Duration::ZERO;
    for batch in read_vectors(vectors, dimensions)?.chunks(BATCH) {
        let batch = batch.iter().enumerate().map(|(place, values)| Vector {
            id: (written + place).to_string(),
            values: values.clone(),
            namespace: None,
            metadata: None,
        });
        let batch: Vec<Vector> = batch.collect();
        written += batch.len();
        let started = Instant::now();
        index.write(batch, Writing::Insert).await?;
        took += started.elapsed();
    }
    Ok((written, took))
}

async fn search(index: &SqliteVectors, queries: &[Vec<f32>]) -> Outcome<(Vec<Vec<Match>>, Vec<Duration>)> {
    let mut found = Vec::with_capacity(queries.len());
    let mut times = Vec::with_capacity(queries.len());
    for values in queries {
        let query = query(values);
        let started = Instant::now();
        found.push(index.query(query).await?);
        times.push(started.elapsed());
    }
    Ok((found, times))
}

fn query(values: &[f32]) -> Query {
    Query {
        values: values.to_vec(),
        top_k: TOP_K,
        namespace: None,
        filter: None,
        with_values: false,
        with_metadata: false,
    }
}

fn read_vectors(path: &Path, dimensions: usize) -> Outcome<Vec<Vec<f32>>> {
    let bytes = std::fs::read(path)?;
    let (values, _) = bytes.as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(values.chunks_exact(dimensions).map(<[f32]>::to_vec).collect())
}

fn ids(matches: &[Match]) -> Vec<u32> {
    matches.iter().filter_map(|found| found.id.parse().ok()).collect()
}

fn recall(truth: &[Vec<Match>], found: &[Vec<Match>]) -> f64 {
    let hits: usize = truth
        .iter()
        .zip(found)
        .map(|(truth, found)| truth.iter().filter(|truth| found.iter().any(|found| found.id == truth.id)).count())
        .sum();
    hits as f64 / truth.iter().map(Vec::len).sum::<usize>() as f64
}

fn milliseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1000.0).collect()
}
