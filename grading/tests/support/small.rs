//! The shapes of `benches/shapes.toml`, small: still several tiles, pages and parts, and a remainder of
//! each.

use grading::profile::{Scale, Shape, shape};

fn small(shape: &Shape, name: &str, size: usize) -> usize {
    let most = match (shape.task.as_str(), name) {
        (_, "R") => 9,
        (_, "V") => 5003,
        ("ternary-matmul", "N") => 72,
        ("ternary-matmul", "K") => 1024,
        ("tree-verify", "N") => 9,
        (_, "N") => 75,
        (_, "S" | "P") => 150,
        (_, "T") => 37,
        _ => size,
    };
    size.min(most)
}

/// All of them.
pub(crate) fn shapes() -> Vec<Shape> {
    let shrunk = |shape: &Shape| {
        let sizes = shape.sizes(Scale::Vm).iter();
        let sizes: Vec<(&str, u64)> = sizes
            .map(|(name, size)| (name.as_str(), small(shape, name, *size) as u64))
            .collect();
        shape.resized(sizes).expect("its own sizes")
    };
    shape::all().iter().map(shrunk).collect()
}
