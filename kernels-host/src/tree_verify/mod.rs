//! Speculative decoding with token trees: attention of a drafted tree over a paged prefix, which path
//! of it the target model accepts, and whole runs ([`TreeVerifier`]).

mod accept;
mod attention;
mod keep;
mod trees;
mod verifier;

pub use accept::{Accepted, Logits, Sampling, Walk, accept_greedy, accept_sampled};
pub use attention::tree_attention;
pub use keep::keep;
pub use trees::{TokenTree, TreeMask, Trees};
pub use verifier::{Draft, Drafted, Mode, Rules, Target, TreeVerifier, Turn};
