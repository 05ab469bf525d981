//! The command that runs the model.

fn main() {}
