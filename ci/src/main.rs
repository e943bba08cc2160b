//! Everything that CI does, as one program.

fn main() {}
