//! The shapes that are measured: `benches/shapes.toml`, which is compiled in, so that a program that
//! was built elsewhere has it with it.

use super::ProfileError;
use crate::tensor::DType;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Sizes by name.
pub type Sizes = BTreeMap<String, usize>;

/// For whom sizes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The PTX machine.
    Vm,
    /// A GPU.
    Gpu,
}

/// A shape by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// The task.
    pub task: String,
    /// Its name.
    pub name: String,
    /// The operation.
    pub op: String,
    /// The type of what is not packed.
    pub dtype: String,
    /// How pages hold keys and values.
    pub kv: Option<String>,
    /// Whether attention is causal.
    #[serde(default)]
    pub causal: bool,
    gpu: Sizes,
    vm: Sizes,
}

impl Shape {
    /// Its sizes.
    pub fn sizes(&self, scale: Scale) -> &Sizes {
        match scale {
            Scale::Vm => &self.vm,
            Scale::Gpu => &self.gpu,
        }
    }

    /// The same with other sizes on the machine, `R=8,V=1000`; those not named stay.
    ///
    /// # Errors
    /// When it has no such size.
    pub fn resized<'a>(
        &self,
        sizes: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<Shape, ProfileError> {
        let mut shape = self.clone();
        for (name, size) in sizes {
            let known = shape.vm.keys().cloned().collect::<Vec<_>>().join(", ");
            match shape.vm.get_mut(name) {
                Some(slot) if size > 0 => *slot = size as usize,
                Some(_) => return Err(ProfileError::Size(format!("{name} must not be 0"))),
                None => {
                    let why = format!("{} has no size {name}; it has {known}", self.name);
                    return Err(ProfileError::Size(why));
                }
            }
        }
        Ok(shape)
    }

    /// Its type.
    ///
    /// # Errors
    /// When it is none that kernels take.
    pub fn element(&self) -> Result<DType, ProfileError> {
        match DType::from_name(&self.dtype) {
            Some(dtype @ (DType::F32 | DType::F16 | DType::Bf16)) => Ok(dtype),
            _ => Err(ProfileError::Dtype(self.dtype.clone())),
        }
    }

    /// `bf16 R=2 V=151936 K=256`.
    pub fn text(&self, scale: Scale) -> String {
        let mut text = self.dtype.clone();
        if let Some(kv) = &self.kv {
            text = format!("{text} over {kv}");
        }
        for (name, size) in self.sizes(scale) {
            text = format!("{text} {name}={size}");
        }
        text
    }
}

#[derive(Deserialize)]
struct File {
    shape: Vec<Shape>,
}

/// All of them.
///
/// # Panics
/// When the file is none: it is compiled in, and a test reads it.
pub fn all() -> &'static [Shape] {
    static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
        let text = include_str!("../../../benches/shapes.toml");
        match toml::from_str::<File>(text) {
            Ok(file) => file.shape,
            Err(error) => panic!("benches/shapes.toml: {error}"),
        }
    });
    &SHAPES
}

/// Those of a task.
pub fn of_task(task: &str) -> Vec<&'static Shape> {
    all().iter().filter(|shape| shape.task == task).collect()
}
