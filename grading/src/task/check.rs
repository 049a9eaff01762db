//! A check: what is drawn, what is asked, what must hold.

use super::{Dims, NoMargin, Session};
use crate::submission::Call;
use crate::verdict::Verdict;
use reference::cases::Rng;
use serde::Serialize;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Names, types, shapes; everything written; inputs untouched; fresh work for each call.
    Contract,
    /// Values within their bounds, over generated cases.
    Values,
    /// NaN, infinities, empty things.
    Odd,
    /// What must hold between calls.
    Property,
    /// A mistake that is often made.
    Trap,
    /// A capability beyond the least.
    Level,
    /// The same bits every time.
    Determinism,
    /// Scratch memory.
    Memory,
    /// Bytes and operations.
    Cost,
}

impl Kind {
    /// All of them, in the order of reports.
    pub const ALL: [Kind; 9] = [
        Kind::Contract,
        Kind::Values,
        Kind::Odd,
        Kind::Property,
        Kind::Trap,
        Kind::Level,
        Kind::Determinism,
        Kind::Memory,
        Kind::Cost,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Contract => "contract",
            Kind::Values => "values",
            Kind::Odd => "odd",
            Kind::Property => "property",
            Kind::Trap => "trap",
            Kind::Level => "level",
            Kind::Determinism => "determinism",
            Kind::Memory => "memory",
            Kind::Cost => "cost",
        }
    }

    /// Whether a failure is a matter of right and wrong, and not of points.
    pub fn decides(self) -> bool {
        !matches!(self, Kind::Determinism | Kind::Memory | Kind::Cost)
    }
}

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// A minute for all tasks.
    Quick,
    /// More cases, larger ones.
    Full,
}

impl Budget {
    /// One or the other.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Budget::Quick => quick,
            Budget::Full => full,
        }
    }
}

/// Why a check stopped before its end.
#[derive(Debug)]
pub enum Stop {
    /// It has its verdict.
    Verdict(Box<Verdict>),
    /// The case that was drawn cannot tell right from wrong: draw another one.
    NoMargin(NoMargin),
    /// These sizes cannot show what the check is about.
    Unfit,
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Stop {
        Stop::Verdict(Box::new(verdict))
    }
}

/// How running a check ends; right is `Ok`.
pub type Outcome = Result<(), Stop>;

type Draw = Box<dyn Fn(&mut Rng, Budget) -> Dims + Send + Sync>;
type Run = Box<dyn Fn(&mut Session<'_>, &Dims, &mut Rng) -> Outcome + Send + Sync>;

/// A check.
pub struct Check {
    /// What it is about.
    pub kind: Kind,
    /// Its name, unique among those of its kind.
    pub name: &'static str,
    /// The capability level it belongs to.
    pub level: &'static str,
    /// The operations it asks.
    pub ops: Vec<&'static str>,
    /// What must hold, in a sentence.
    pub says: &'static str,
    /// How many cases are drawn, quick and full.
    pub cases: (usize, usize),
    pub(crate) draw: Draw,
    pub(crate) run: Run,
}

impl Check {
    /// `kind::name`, as `--check` takes it after the task.
    pub fn path(&self) -> String {
        format!("{}::{}", self.kind.name(), self.name)
    }

    /// A check with everything spelled out.
    pub fn new(
        kind: Kind,
        name: &'static str,
        says: &'static str,
        draw: impl Fn(&mut Rng, Budget) -> Dims + Send + Sync + 'static,
        run: impl Fn(&mut Session<'_>, &Dims, &mut Rng) -> Outcome + Send + Sync + 'static,
    ) -> Check {
        Check {
            kind,
            name,
            level: "basic",
            ops: Vec::new(),
            says,
            cases: (1, 4),
            draw: Box::new(draw),
            run: Box::new(run),
        }
    }

    /// A check that makes one call and judges the answer. `make` returns `None` for sizes that
    /// cannot show what it is about.
    pub fn judged(
        kind: Kind,
        name: &'static str,
        says: &'static str,
        draw: impl Fn(&mut Rng, Budget) -> Dims + Send + Sync + 'static,
        make: impl Fn(&Dims, &mut Rng) -> Option<Call> + Send + Sync + 'static,
    ) -> Check {
        Check::new(kind, name, says, draw, move |session, dims, rng| {
            let call = make(dims, rng).ok_or(Stop::Unfit)?;
            session.judge(&call).map(drop)
        })
    }

    /// The same at another level.
    #[must_use]
    pub fn at(self, level: &'static str) -> Check {
        Check { level, ..self }
    }

    /// The same with other numbers of cases.
    #[must_use]
    pub fn cases(self, quick: usize, full: usize) -> Check {
        Check {
            cases: (quick, full),
            ..self
        }
    }

    /// The same, of operations other than the task's first.
    #[must_use]
    pub fn ops(self, ops: &[&'static str]) -> Check {
        Check {
            ops: ops.to_vec(),
            ..self
        }
    }
}

/// Dims that are always the same.
pub fn fixed<const N: usize>(
    sizes: [(&'static str, u64); N],
) -> impl Fn(&mut Rng, Budget) -> Dims + Send + Sync {
    move |_, _| Dims::of(sizes)
}
