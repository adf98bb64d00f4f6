//! The behaviour suite of the AI binding, run over every driver.

fn main() {}
