//! What the test binaries over data files share: discovery, comparison, waivers.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod element;
pub mod machine;
pub mod npy;
pub mod op_test;
pub mod waivers;

use std::path::{Path, PathBuf};

/// A folder beside the tests.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// Files below `root` that end in `.extension`, in order.
pub fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry
                .expect("a folder that is being listed can be read")
                .path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
