//! PTX modules and the kernels in them.

use crate::{Device, Error, Result};
use simt::diagnostics::Diagnostics;
use simt::{Validated, ptx};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

/// The PTX that came with this crate: family, target, text.
static EMBEDDED: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// A PTX file, parsed.
#[derive(Debug)]
pub struct Module {
    text: String,
    parsed: ptx::Module,
    validated: OnceLock<std::result::Result<Validated, Diagnostics>>,
}

impl Module {
    /// Parses PTX.
    ///
    /// # Errors
    /// When it is not PTX, with the place and what was expected there.
    pub fn parse(text: &str) -> Result<Arc<Module>> {
        Ok(Arc::new(Module {
            text: text.to_owned(),
            parsed: ptx::parse(text)?,
            validated: OnceLock::new(),
        }))
    }

    /// Our own PTX of a family of kernels, the best there is for the device.
    ///
    /// # Errors
    /// When there is no such family, or none of its PTX runs on the device.
    pub fn embedded(family: &str, device: &dyn Device) -> Result<Arc<Module>> {
        /// By family and target.
        type Parsed = HashMap<(&'static str, &'static str), Arc<Module>>;
        static PARSED: LazyLock<Mutex<Parsed>> = LazyLock::new(Mutex::default);
        let fitting = device.targets().iter().find_map(|target| {
            EMBEDDED
                .iter()
                .find(|(name, of, _)| *name == family && of == target)
        });
        let Some((name, target, text)) = fitting else {
            return Err(Error::NoTarget {
                family: family.into(),
                device: device.name(),
                targets: device.targets().join(", "),
            });
        };
        // A panic elsewhere leaves the map whole: entries are only added.
        let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = parsed.get(&(*name, *target)) {
            return Ok(module.clone());
        }
        let module = Module::parse(text)?;
        parsed.insert((name, target), module.clone());
        Ok(module)
    }

    /// The families and targets whose PTX came with this crate.
    pub fn all_embedded() -> impl Iterator<Item = (&'static str, &'static str)> {
        EMBEDDED
            .iter()
            .map(|(family, target, _)| (*family, *target))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What was read from it.
    pub fn parsed(&self) -> &ptx::Module {
        &self.parsed
    }

    /// The module as the PTX machine runs it; validated at the first call.
    pub(crate) fn validated(&self) -> Result<&Validated> {
        let validated = self
            .validated
            .get_or_init(|| simt::validate(self.parsed.clone()));
        validated
            .as_ref()
            .map_err(|diagnostics| Error::Ptx(diagnostics.clone()))
    }

    /// The kernel of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn kernel(self: &Arc<Module>, entry: &str) -> Result<Kernel> {
        if self.parsed.entry(entry).is_none() {
            let names: Vec<&str> = self.parsed.entries().map(|entry| entry.name()).collect();
            return Err(Error::NoEntry {
                entry: entry.into(),
                entries: names.join(", "),
            });
        }
        Ok(Kernel {
            module: self.clone(),
            entry: entry.into(),
        })
    }
}

/// One kernel of a module.
#[derive(Clone, Debug)]
pub struct Kernel {
    module: Arc<Module>,
    entry: String,
}

impl Kernel {
    /// The name in the PTX.
    pub fn name(&self) -> &str {
        &self.entry
    }

    /// The module it is in.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Its signature and launch bounds.
    pub(crate) fn signature(&self) -> Result<ptx::Entry<'_>> {
        self.module
            .parsed
            .entry(&self.entry)
            .ok_or_else(|| Error::NoEntry {
                entry: self.entry.clone(),
                entries: String::new(),
            })
    }
}
