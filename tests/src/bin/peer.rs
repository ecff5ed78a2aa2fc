//! Another process.

fn main() {}
