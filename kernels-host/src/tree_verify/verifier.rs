//! Whole runs: a draft proposes trees, a target judges them, until the texts end.

use super::{Accepted, Logits, Sampling, TokenTree, Trees, Walk, accept_greedy, accept_sampled};
use crate::attention::Float;
use crate::{Buffer, Device, Error, Result};
use std::sync::Arc;

/// When a text ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Tokens that end a text; they belong to it.
    pub stop: Vec<i32>,
    /// Tokens after which it ends in any case.
    pub max_new_tokens: usize,
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The greatest logit: the text is the one that plain greedy decoding gives.
    Greedy,
    /// At random, with the target's distribution; the same seed gives the same text.
    Sampling {
        /// What logits are divided by.
        temperature: f32,
        /// Where the random numbers begin.
        seed: u64,
    },
}

/// A proposal for one item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drafted {
    /// The tree; may be empty.
    pub tree: TokenTree,
    /// For sampling, `[1 + N, V]`: what the children after each row were drawn from. Either every
    /// item's has one, or none's.
    pub distribution: Option<Vec<f32>>,
}

/// Proposes trees.
pub trait Draft {
    /// What can go wrong in it.
    type Error;

    /// A tree that may continue the text of an item, at most `room` tokens deep to be of use.
    ///
    /// # Errors
    /// The draft's own; they end the run.
    fn propose(
        &mut self,
        item: usize,
        history: &[i32],
        room: usize,
    ) -> std::result::Result<Drafted, Self::Error>;
}

/// The model whose text it is.
pub trait Target<T: Float> {
    /// What can go wrong in it.
    type Error: From<Error>;

    /// V: tokens are 0…V−1.
    fn vocabulary(&self) -> usize;

    /// The logits after each item's text and after each node of its tree, `[Σ (1 + N), V]` in the
    /// order of the turn's items, on the verifier's device.
    ///
    /// # Errors
    /// The model's own; they end the run.
    fn logits(&mut self, turn: &Turn<'_>) -> std::result::Result<Buffer<T>, Self::Error>;

    /// Told what was accepted, before the next turn: a model with a cache keeps these nodes.
    ///
    /// # Errors
    /// The model's own; they end the run.
    fn accepted(
        &mut self,
        turn: &Turn<'_>,
        accepted: &Accepted,
    ) -> std::result::Result<(), Self::Error> {
        let _ = (turn, accepted);
        Ok(())
    }
}

/// One turn: the items whose text goes on, and their trees.
#[derive(Debug)]
pub struct Turn<'a> {
    items: &'a [usize],
    texts: &'a [Vec<i32>],
    proposals: &'a [TokenTree],
    trees: &'a Trees,
}

impl Turn<'_> {
    /// The items that take part, by their number in the run.
    pub fn items(&self) -> &[usize] {
        self.items
    }

    /// Prompt and text so far of the turn's n-th item.
    pub fn history(&self, n: usize) -> &[i32] {
        &self.texts[self.items[n]]
    }

    /// The tree of the turn's n-th item.
    pub fn tree(&self, n: usize) -> &TokenTree {
        &self.proposals[n]
    }

    /// All trees of the turn, on the device.
    pub fn trees(&self) -> &Trees {
        self.trees
    }
}

/// Speculative decoding of whole batches.
#[derive(Debug)]
pub struct TreeVerifier {
    device: Arc<dyn Device>,
    rules: Rules,
    mode: Mode,
    stop: Buffer<i32>,
}

impl TreeVerifier {
    /// A verifier on a device.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(device: &Arc<dyn Device>, rules: Rules, mode: Mode) -> Result<TreeVerifier> {
        Ok(TreeVerifier {
            stop: Buffer::from_slice(device, &rules.stop)?,
            device: device.clone(),
            rules,
            mode,
        })
    }

    /// The continuation of each prompt, a final stop token included.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use kernels_host::tree_verify::{Draft, Drafted, Mode, Rules, Target, TokenTree, TreeVerifier, Turn};
    /// use kernels_host::{Buffer, Device, Error, Vm};
    ///
    /// /// Counts upwards modulo 10.
    /// struct Counting(Arc<dyn Device>);
    ///
    /// impl Target<f32> for Counting {
    ///     type Error = Error;
    ///     fn vocabulary(&self) -> usize {
    ///         10
    ///     }
    ///     fn logits(&mut self, turn: &Turn<'_>) -> Result<Buffer<f32>, Error> {
    ///         let mut rows = Vec::new();
    ///         for n in 0..turn.items().len() {
    ///             let last = turn.history(n).last().copied();
    ///             for token in last.iter().chain(turn.tree(n).tokens()) {
    ///                 rows.extend((0..10).map(|t| f32::from(u8::from(t == (token + 1) % 10))));
    ///             }
    ///         }
    ///         Buffer::from_slice(&self.0, &rows)
    ///     }
    /// }
    ///
    /// /// Guesses two right and one wrong.
    /// struct Guess;
    ///
    /// impl Draft for Guess {
    ///     type Error = Error;
    ///     fn propose(&mut self, _: usize, text: &[i32], _: usize) -> Result<Drafted, Error> {
    ///         let last = text.last().copied().unwrap_or(0);
    ///         let tree = TokenTree::chain(&[(last + 1) % 10, (last + 2) % 10, 0])?;
    ///         Ok(Drafted { tree, distribution: None })
    ///     }
    /// }
    ///
    /// let device: Arc<dyn Device> = Vm::new();
    /// let rules = Rules { stop: vec![9], max_new_tokens: 20 };
    /// let verifier = TreeVerifier::new(&device, rules, Mode::Greedy)?;
    /// let texts = verifier.run(&mut Guess, &mut Counting(device.clone()), &[&[3], &[7]])?;
    /// assert_eq!(texts, [vec![4, 5, 6, 7, 8, 9], vec![8, 9]]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When a prompt is empty, a proposal or the logits do not fit, or draft or target fail.
    pub fn run<T, D, M>(
        &self,
        draft: &mut D,
        target: &mut M,
        prompts: &[&[i32]],
    ) -> std::result::Result<Vec<Vec<i32>>, M::Error>
    where
        T: Float,
        M: Target<T>,
        D: Draft<Error = M::Error>,
    {
        let mut texts: Vec<Vec<i32>> = prompts.iter().map(|prompt| prompt.to_vec()).collect();
        let mut random = Random(match self.mode {
            Mode::Greedy => 0,
            Mode::Sampling { seed, .. } => seed,
        });
        let mut going: Vec<usize> = (0..prompts.len()).collect();
        going.retain(|_| self.rules.max_new_tokens > 0);
        while !going.is_empty() {
            let (mut proposals, mut distributions) = (Vec::new(), Vec::new());
            for &item in &going {
                let room = prompts[item].len() + self.rules.max_new_tokens - texts[item].len();
                let drafted = draft.propose(item, &texts[item], room)?;
                proposals.push(drafted.tree);
                distributions.push(drafted.distribution);
            }
            let trees = Trees::new(&self.device, &proposals)?;
            let turn = Turn {
                items: &going,
                texts: &texts,
                proposals: &proposals,
                trees: &trees,
            };
            let rows = target.logits(&turn)?;
            let logits = Logits {
                rows: &rows,
                vocabulary: target.vocabulary(),
            };
            let accepted = self.accept(&trees, logits, distributions, &mut random)?;
            target.accepted(&turn, &accepted)?;
            let walks = accepted.walks()?;
            let ended: Vec<bool> = going
                .iter()
                .zip(walks)
                .map(|(&item, walk)| self.grow(&mut texts[item], prompts[item].len(), walk))
                .collect();
            let mut ended = ended.into_iter();
            going.retain(|_| ended.next() == Some(false));
        }
        let new = texts.into_iter().zip(prompts);
        Ok(new
            .map(|(mut text, prompt)| text.split_off(prompt.len()))
            .collect())
    }

    fn accept<T: Float>(
        &self,
        trees: &Trees,
        logits: Logits<'_, T>,
        distributions: Vec<Option<Vec<f32>>>,
        random: &mut Random,
    ) -> Result<Accepted> {
        let Mode::Sampling { temperature, .. } = self.mode else {
            return accept_greedy(trees, logits, &self.stop, None);
        };
        let given = distributions.iter().flatten().count();
        if given != 0 && given != distributions.len() {
            return Err(Error::Parameter {
                name: "distribution",
                got: format!("{given} of {} items have one", distributions.len()),
                must_be: "given by every item, or by none".into(),
            });
        }
        let draft = (given > 0)
            .then(|| {
                let all: Vec<f32> = distributions.into_iter().flatten().flatten().collect();
                Buffer::from_slice(&self.device, &all)
            })
            .transpose()?;
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| random.uniform()).collect() };
        let (uniform, bonus_uniform) = (numbers(trees.nodes()), numbers(trees.items()));
        let sampling = Sampling {
            temperature,
            draft: draft.as_ref(),
            uniform: &uniform,
            bonus_uniform: &bonus_uniform,
        };
        accept_sampled(trees, logits, &sampling, &self.stop, None)
    }

    /// Adds what was accepted to a text; whether it ends there.
    fn grow(&self, text: &mut Vec<i32>, prompt: usize, walk: Walk) -> bool {
        let end = prompt + self.rules.max_new_tokens;
        let no_bonus = walk.bonus.is_none();
        text.extend(walk.tokens);
        text.extend(walk.bonus);
        text.truncate(end);
        let stopped = text.len() > prompt
            && text
                .last()
                .is_some_and(|last| self.rules.stop.contains(last));
        no_bonus || stopped || text.len() == end
    }
}

/// Numbers in [0, 1) from a counter (SplitMix64: Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 24 bits: each is an f32.
        (z >> 40) as f32 / (1_u64 << 24) as f32
    }
}
