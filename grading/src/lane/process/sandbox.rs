//! What confines a program, layer by layer, and what the kernel refused.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// One thing that confines a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What it is.
    pub name: String,
    /// Why it is not there, when it is not.
    pub refused: Option<String>,
}

impl Layer {
    pub(super) fn enforced(name: &str) -> Layer {
        Layer {
            name: name.to_owned(),
            refused: None,
        }
    }

    pub(super) fn refused(name: &str, why: impl Display) -> Layer {
        Layer {
            name: name.to_owned(),
            refused: Some(why.to_string()),
        }
    }

    pub(super) fn of<T>(name: &str, result: Result<T, impl Display>) -> Layer {
        match result {
            Ok(_) => Layer::enforced(name),
            Err(why) => Layer::refused(name, why),
        }
    }
}

/// What confines a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    /// The layers, in the order in which they were set up.
    pub layers: Vec<Layer>,
}

impl SandboxReport {
    /// Whether every layer is there.
    pub fn complete(&self) -> bool {
        !self.layers.is_empty() && self.refused().next().is_none()
    }

    /// The layers that the kernel refused.
    pub fn refused(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.refused.is_some())
    }
}

impl Display for SandboxReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for layer in &self.layers {
            match &layer.refused {
                None => writeln!(f, "  {}", layer.name)?,
                Some(why) => writeln!(f, "  {}: refused: {why}", layer.name)?,
            }
        }
        Ok(())
    }
}
