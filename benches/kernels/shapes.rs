//! `benches/shapes.toml`.

use serde::Deserialize;
use std::collections::BTreeMap;

/// For whom the sizes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// The PTX machine.
    Vm,
    /// A GPU.
    Gpu,
}

#[derive(Deserialize)]
struct File {
    shape: Vec<Shape>,
}

/// A shape by its name.
#[derive(Deserialize)]
pub(crate) struct Shape {
    name: String,
    gpu: BTreeMap<String, usize>,
    vm: BTreeMap<String, usize>,
}

/// All of them.
pub(crate) struct Shapes(Vec<Shape>);

impl Shapes {
    /// From the file, which is compiled in: a bench that was built elsewhere has it with it.
    pub(crate) fn read() -> Shapes {
        let file: File = toml::from_str(include_str!("../shapes.toml"))
            .unwrap_or_else(|error| panic!("benches/shapes.toml: {error}"));
        Shapes(file.shape)
    }

    /// Sizes of a shape in the order of their names.
    pub(crate) fn sizes<const N: usize>(
        &self,
        name: &str,
        size: Size,
        of: [&str; N],
    ) -> [usize; N] {
        let shape = self.0.iter().find(|shape| shape.name == name);
        let shape = shape.unwrap_or_else(|| panic!("benches/shapes.toml has no {name}"));
        let sizes = match size {
            Size::Vm => &shape.vm,
            Size::Gpu => &shape.gpu,
        };
        of.map(|key| {
            let missing = || panic!("benches/shapes.toml: {name} has no {key}");
            sizes.get(key).copied().unwrap_or_else(missing)
        })
    }
}
