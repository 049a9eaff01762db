//! Masks of `.sync` operations: every lane that executes one must be named by its own mask.
//! A lane that is named and never comes is a dead-lock, which stops the program.

use super::Checker;
use super::finding::{Log, Mistake, Raw, RawSide};
use crate::exec::observer::At;

/// Checks an operation that runs for the lanes of `at.mask`.
pub(crate) fn check(log: &mut Log, at: At, member: u32) {
    let unnamed = at.mask & !member;
    if unnamed == 0 {
        return;
    }
    log.add((at.pc, 0, Checker::Mask, Mistake::Unnamed), || Raw {
        message: format!(
            "the mask {member:#010x} leaves out lanes {unnamed:#010x} that execute it"
        ),
        usual_cause: "a mask computed before a branch, or for the other side of it",
        sides: vec![RawSide {
            what: "executes without being named".to_owned(),
            block: at.block,
            thread: at.warp * 32 + unnamed.trailing_zeros(),
            pc: at.pc,
        }],
    });
}
