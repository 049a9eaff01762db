//! Checkers: each sees a run through the one observer interface and writes what it finds to a
//! log. None of them changes what the program computes.
//!
//! What memory-safety needs is always on and stops the program: bounds, lifetime, alignment,
//! state space, dead-lock. The checkers here let it run on.

pub(crate) mod barrier;
pub(crate) mod block;
pub(crate) mod cell;
pub(crate) mod cells;
pub(crate) mod clocks;
pub(crate) mod cluster;
pub(crate) mod copies;
pub(crate) mod finding;
pub(crate) mod global;
pub(crate) mod mask;
pub(crate) mod mbarrier;
pub(crate) mod proxy;
pub(crate) mod proxy_device;
pub(crate) mod race;
pub(crate) mod range;
pub(crate) mod shared;
pub(crate) mod values;

pub use finding::{Finding, Mistake, Side};

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A checker that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checker {
    /// Bytes that were never written, and then decide something.
    Uninitialised,
    /// Races on shared memory.
    SharedRace,
    /// Races on device memory, within a block and between blocks.
    GlobalRace,
    /// Barriers that part of a warp reaches, and counts that disagree.
    Barrier,
    /// Shuffles from lanes that take no part, whose result is used.
    Shuffle,
    /// `.sync` operations whose mask leaves out the lane that executes them.
    Mask,
    /// Shared memory used while an asynchronous copy to it is in flight.
    Copies,
    /// Bulk copies and `wgmma` on memory that ordinary instructions wrote, without
    /// `fence.proxy.async` between; tensor maps written and used without their fences.
    Proxy,
    /// mbarriers used before their initialisation is known, or initialised twice.
    Mbarrier,
}

impl Checker {
    /// Every checker.
    pub const ALL: [Checker; 9] = [
        Checker::Uninitialised,
        Checker::SharedRace,
        Checker::GlobalRace,
        Checker::Barrier,
        Checker::Shuffle,
        Checker::Mask,
        Checker::Copies,
        Checker::Proxy,
        Checker::Mbarrier,
    ];

    /// Its name in lists of checkers.
    pub fn name(self) -> &'static str {
        match self {
            Checker::Uninitialised => "uninitialised",
            Checker::SharedRace => "shared-race",
            Checker::GlobalRace => "global-race",
            Checker::Barrier => "barrier",
            Checker::Shuffle => "shuffle",
            Checker::Mask => "mask",
            Checker::Copies => "copies",
            Checker::Proxy => "proxy",
            Checker::Mbarrier => "mbarrier",
        }
    }
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of checkers: `all`, `none`, or names with commas between them.
///
/// ```
/// use simt::check::{Checker, Checks};
///
/// let checks: Checks = "shared-race,barrier".parse()?;
/// assert!(checks.has(Checker::Barrier) && !checks.has(Checker::Mask));
/// assert_eq!("all".parse(), Ok(Checks::ALL));
/// assert!("races".parse::<Checks>().is_err());
/// # Ok::<(), simt::check::UnknownChecker>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks(u32);

impl Checks {
    /// Every checker.
    pub const ALL: Checks = Checks((1 << Checker::ALL.len()) - 1);
    /// None.
    pub const NONE: Checks = Checks(0);

    /// Whether a checker is on.
    pub fn has(self, checker: Checker) -> bool {
        self.0 >> checker as u32 & 1 != 0
    }

    /// The set with a checker added.
    pub fn with(self, checker: Checker) -> Checks {
        Checks(self.0 | 1 << checker as u32)
    }

    /// The set without a checker.
    pub fn without(self, checker: Checker) -> Checks {
        Checks(self.0 & !(1 << checker as u32))
    }
}

impl Default for Checks {
    fn default() -> Self {
        Checks::ALL
    }
}

/// A name that no checker has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no checker `{name}`; there are all, none and {}", names())]
pub struct UnknownChecker {
    /// The name.
    pub name: String,
}

fn names() -> String {
    Checker::ALL.map(Checker::name).join(", ")
}

impl FromStr for Checks {
    type Err = UnknownChecker;

    fn from_str(text: &str) -> Result<Self, UnknownChecker> {
        match text {
            "all" => return Ok(Checks::ALL),
            "none" => return Ok(Checks::NONE),
            _ => {}
        }
        let mut set = Checks::NONE;
        for name in text.split(',') {
            let found = Checker::ALL.iter().find(|c| c.name() == name);
            let unknown = || UnknownChecker {
                name: name.to_owned(),
            };
            set = set.with(*found.ok_or_else(unknown)?);
        }
        Ok(set)
    }
}
