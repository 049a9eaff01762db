//! What the checkers know of one block.

use super::barrier::Arrival;
use super::clocks::Clocks;
use super::copies::Copies;
use super::values::Values;
use super::{global, shared};
use crate::lower::program::Program;
use std::collections::HashMap;

/// The state of one block.
#[derive(Debug)]
pub(crate) struct BlockState {
    pub(crate) clocks: Clocks,
    pub(crate) shared: shared::Shadow,
    pub(crate) seen: global::Seen,
    /// Arrivals at each barrier since it last completed.
    pub(crate) arrivals: [Vec<Arrival>; crate::lower::sync::BARRIERS],
    /// What is unknown in the registers of each warp.
    pub(crate) values: Vec<Values>,
    pub(crate) copies: Copies,
}

/// The blocks that run on one worker.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// The one looked up last.
    current: Option<(u64, Box<BlockState>)>,
    others: HashMap<u64, Box<BlockState>>,
}

impl Blocks {
    pub(crate) fn start(&mut self, program: &Program, block: u64, warps: u32) {
        let state = BlockState {
            clocks: Clocks::new(warps),
            shared: shared::Shadow::default(),
            seen: global::Seen::default(),
            arrivals: Default::default(),
            values: (0..warps).map(|_| Values::new(program)).collect(),
            copies: Copies::default(),
        };
        if let Some((index, old)) = self.current.replace((block, Box::new(state))) {
            self.others.insert(index, old);
        }
    }

    pub(crate) fn end(&mut self, block: u64) {
        self.others.remove(&block);
        self.current.take_if(|(index, _)| *index == block);
    }

    /// The state of a block that was started.
    #[inline(always)]
    pub(crate) fn get(&mut self, block: u64) -> Option<&mut BlockState> {
        if self
            .current
            .as_ref()
            .is_none_or(|(index, _)| *index != block)
        {
            let state = self.others.remove(&block)?;
            if let Some((index, old)) = self.current.replace((block, state)) {
                self.others.insert(index, old);
            }
        }
        self.current.as_mut().map(|(_, state)| &mut **state)
    }
}
