//! The observer of a launch: counters and checkers, as the options ask for them.

use crate::count::Counters;
use crate::count::observe::Tally;
use crate::exec::observer::{AccessEvent, At, Observer};
use crate::exec::registers::Registers;
use crate::lower::program::Program;
use crate::ptx::ast::Module;

/// What one worker of a launch sees.
pub(crate) struct Watch {
    tally: Option<Box<Tally>>,
}

impl Watch {
    pub(crate) fn new(program: &Program, counters: bool) -> Self {
        Self {
            tally: counters.then(|| Box::new(Tally::new(program))),
        }
    }

    /// Takes over what another worker saw.
    pub(crate) fn merge(&mut self, other: Watch) {
        if let (Some(mine), Some(other)) = (&mut self.tally, other.tally) {
            mine.merge(*other);
        }
    }

    /// The counters, if they were asked for.
    pub(crate) fn counters(
        &mut self,
        module: &Module,
        program: &Program,
        blocks: u64,
        threads: u32,
    ) -> Option<Counters> {
        let tally = self.tally.take()?;
        Some(tally.finish(module, program, blocks, threads))
    }
}

impl Observer for Watch {
    const ACTIVE: bool = true;

    fn straight(&mut self, _program: &Program, at: At, count: u32, _registers: &Registers) {
        if let Some(tally) = &mut self.tally {
            tally.run(at, count);
        }
    }

    fn instruction(&mut self, program: &Program, at: At, _registers: &Registers) {
        if let Some(tally) = &mut self.tally {
            tally.instruction(program, at);
        }
    }

    fn access(&mut self, event: &AccessEvent<'_>) {
        if let Some(tally) = &mut self.tally {
            tally.access(event);
        }
    }

    fn branch(&mut self, at: At, taken: u32) {
        if let Some(tally) = &mut self.tally {
            tally.branch(at, taken);
        }
    }

    fn barrier_arrive(&mut self, at: At, _live: u32, id: u32, _count: Option<u32>) {
        if let Some(tally) = &mut self.tally {
            tally.barrier_arrive(at, id);
        }
    }

    fn barrier_complete(&mut self, _block: u64, id: u32, _warps: &[u32]) {
        if let Some(tally) = &mut self.tally {
            tally.barrier_complete(id);
        }
    }
}
