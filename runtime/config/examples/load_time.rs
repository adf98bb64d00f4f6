//! temp
#![allow(clippy::print_stdout)]
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let env = aerostack_config::ProcessEnvironment::new().unwrap();
    for _ in 0..5 {
        let t = std::time::Instant::now();
        let file = aerostack_config::locate(&dir, None, &env).unwrap();
        let l = aerostack_config::load(&file, None, &env).unwrap();
        println!("{:?} workers={} warnings={}", t.elapsed(), l.config.workers.len(), l.warnings.len());
    }
}
