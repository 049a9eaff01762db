//! Plain f32 implementations, right in several orders of summation, and wrong by a switch.
//!
//! They grade the grader: the right ones must pass everything, each mistake must be caught by the
//! trap that is named after it. And they diagnose: a wrong answer is compared with theirs.

use crate::submission::{Answer, Call, Failure, Named, Submission};
use crate::task::Task;
use reference::numbers::LAMBDA;
use std::sync::Arc;
use std::time::Instant;

/// In which order terms are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First to last, in blocks.
    Forward,
    /// Last to first, in blocks.
    Backward,
    /// A balanced tree.
    Pairwise,
    /// Interleaved chains, as the lanes of warps have them, then a tree.
    Lanes,
}

impl Order {
    /// All of them.
    pub const ALL: [Order; 4] = [
        Order::Forward,
        Order::Backward,
        Order::Pairwise,
        Order::Lanes,
    ];

    /// The positions `0..n` as chains; the results of the chains are combined in a tree.
    pub fn chains(self, n: usize) -> Vec<Vec<usize>> {
        self.chains_of(n, CHAIN)
    }

    /// The same in chains of at most so many.
    pub fn chains_of(self, n: usize, longest: usize) -> Vec<Vec<usize>> {
        let blocks = || (0..n).step_by(longest).map(|at| at..n.min(at + longest));
        match self {
            Order::Forward => blocks().map(Iterator::collect).collect(),
            Order::Backward => blocks().rev().map(|block| block.rev().collect()).collect(),
            Order::Pairwise => (0..n).map(|i| vec![i]).collect(),
            Order::Lanes => {
                let lanes = LANES * n.div_ceil(LANES * longest).max(1);
                (0..lanes.min(n))
                    .map(|lane| (lane..n).step_by(lanes).collect())
                    .collect()
            }
        }
    }

    /// A sum.
    pub fn sum(self, n: usize, term: impl Fn(usize) -> f32) -> f32 {
        let chain = |chain: Vec<usize>| chain.into_iter().map(&term).fold(0.0, |a, b| a + b);
        tree(self.chains(n).into_iter().map(chain).collect(), &|a, b| {
            a + b
        })
        .unwrap_or(0.0)
    }
}

/// Longest chain of additions. Equal terms are all rounded to one side, which the probable bound of
/// λ·√n roundings does not allow for; over λ² = 70 terms or less it is no smaller than n of them, so
/// that such a chain is right whatever it adds.
const CHAIN: usize = 64;
const _: () = assert!(CHAIN as f64 <= LAMBDA * LAMBDA);

/// Lanes of a warp.
pub const LANES: usize = 32;

/// Combines neighbours until one is left.
pub fn tree<T: Copy>(mut parts: Vec<T>, combine: &dyn Fn(T, T) -> T) -> Option<T> {
    while parts.len() > 1 {
        let pairs = parts.chunks(2);
        parts = pairs
            .map(|pair| match pair {
                [a, b] => combine(*a, *b),
                [a, ..] => *a,
                [] => unreachable!("chunks are not empty"),
            })
            .collect();
    }
    parts.pop()
}

/// How a plain implementation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The order of its sums.
    pub order: Order,
    /// What it does differently: a mistake, or a near miss.
    pub mistake: Option<&'static str>,
    /// The length of its tiles, where it has any and they are not of its usual length.
    pub tile: Option<usize>,
}

impl Way {
    /// The length of its tiles.
    pub fn tile(&self, usual: usize) -> usize {
        self.tile.unwrap_or(usual).max(1)
    }

    /// Whether it makes that mistake.
    pub fn has(&self, mistake: &str) -> bool {
        self.mistake == Some(mistake)
    }

    /// The right way, in that order.
    pub fn right(order: Order) -> Way {
        Way {
            order,
            mistake: None,
            tile: None,
        }
    }
}

/// A mistake that a plain implementation can make, or something that looks like one and is right.
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    /// Its name.
    pub name: &'static str,
    /// The traps, by name, each of which must catch it; none for a near miss, which must pass.
    pub caught_by: &'static [&'static str],
    /// What it does.
    pub says: &'static str,
    /// What to do about it.
    pub mend: &'static str,
}

impl Mistake {
    /// Something that looks like a mistake and is right.
    pub const fn near(name: &'static str, says: &'static str) -> Mistake {
        Mistake {
            name,
            caught_by: &[],
            says,
            mend: "",
        }
    }

    /// Whether it is right.
    pub fn is_near(&self) -> bool {
        self.caught_by.is_empty()
    }

    /// An implementation that makes it.
    pub fn way(&self) -> Way {
        Way {
            order: Order::Forward,
            mistake: Some(self.name),
            tile: None,
        }
    }
}

/// The plain implementations as a submission.
pub struct Honest {
    tasks: Vec<Arc<Task>>,
    way: Way,
}

impl Honest {
    /// Of those tasks.
    pub fn new(tasks: &[Arc<Task>], way: Way) -> Honest {
        Honest {
            tasks: tasks.to_vec(),
            way,
        }
    }
}

impl Submission for Honest {
    fn name(&self) -> String {
        match self.way.mistake {
            Some(mistake) => format!("plain f32, {mistake}"),
            None => format!("plain f32, {:?}", self.way.order).to_lowercase(),
        }
    }

    fn supports(&self, task: &str, op: &str) -> bool {
        let known = self.tasks.iter().find(|known| known.spec.name == task);
        known.is_some_and(|task| task.spec.op(op).is_some())
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        let task = self.tasks.iter().find(|task| task.spec.name == call.task);
        let task = task.ok_or_else(|| Failure::Unsupported(call.task.to_owned()))?;
        let started = Instant::now();
        let outputs = (task.honest)(call, &self.way)?;
        Ok(Answer {
            outputs,
            elapsed: started.elapsed(),
            ..Answer::default()
        })
    }
}

/// Puts an answer's elements under the names, types and shapes that the call asks for, in order.
///
/// # Errors
/// As our own fault, when they do not fit.
pub fn answer<const N: usize>(call: &Call, outputs: [Vec<f64>; N]) -> Result<Vec<Named>, Failure> {
    use crate::tensor::Tensor;
    if N != call.outputs.len() {
        let why = format!("{N} outputs for {}", call.outputs.len());
        return Err(Failure::Grader(why));
    }
    let outputs = call.outputs.iter().zip(outputs);
    outputs
        .map(|(spec, numbers)| {
            let tensor = Tensor::from_f64(spec.dtype, &spec.shape, &numbers)
                .map_err(|error| Failure::Grader(format!("`{}`: {error}", spec.name)))?;
            Ok(Named {
                name: spec.name.clone(),
                tensor,
            })
        })
        .collect()
}
