//! Memory and arithmetic of a KV cache, before anything is allocated.
//!
//! Per token a layer stores one K and one V vector per KV head:
//!
//! ```text
//! bytes/token = layers · 2 · kv_heads · head_bytes(format, D)
//! head_bytes: 16-bit 2·D    int8 D + 2 (f16 scale)    int4 ⌈D/2⌉ + 4 (f16 scale and zero)
//! ```
//!
//! A sequence holds whole pages. With a sliding window of `w` tokens a layer needs the last `w`
//! only.
//!
//! Work of one forward pass over a token with `t` visible keys (itself included):
//!
//! ```text
//! flops(t) = 2·matmul_parameters + 4·layers·query_heads·D·t
//! ```
//!
//! Without a cache the step that makes token `n` repeats this for all `n` tokens; with one it does
//! it for the newest alone.

use super::formats::Format;
pub use super::planner_data::{GPUS, MODELS};

/// The shape of a decoder-only transformer, as its published configuration states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Published name.
    pub name: &'static str,
    /// Number of decoder layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads per layer.
    pub query_heads: u64,
    /// Key/value heads per layer.
    pub kv_heads: u64,
    /// Components per head.
    pub head_size: u64,
    /// Inner width of the gated feed-forward block.
    pub intermediate: u64,
    /// Size of the vocabulary.
    pub vocabulary: u64,
    /// Sliding window in tokens, where the model has one.
    pub window: Option<u64>,
    /// Whether queries and keys are normalised per head (two more vectors of `head_size`).
    pub query_key_norm: bool,
    /// Where the figures come from.
    pub source: &'static str,
}

impl Model {
    /// Parameters that take part in a matrix product for every token: the layers' projections and
    /// the output head, but not the embedding table, which is only looked up.
    pub fn matmul_parameters(&self) -> u64 {
        let attention = 2 * self.hidden * self.head_size * (self.query_heads + self.kv_heads);
        let feed_forward = 3 * self.hidden * self.intermediate;
        self.layers * (attention + feed_forward) + self.vocabulary * self.hidden
    }

    /// All parameters: matrices, embedding table and norms.
    pub fn parameters(&self) -> u64 {
        let qk_norm = if self.query_key_norm {
            2 * self.head_size
        } else {
            0
        };
        let norms = self.layers * (2 * self.hidden + qk_norm) + self.hidden;
        self.matmul_parameters() + self.vocabulary * self.hidden + norms
    }
}

/// A GPU's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gpu {
    /// Product name.
    pub name: &'static str,
    /// Total device memory in bytes.
    pub memory: u64,
    /// Where the figure comes from.
    pub source: &'static str,
}

/// The cache of one model in one format and page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePlan {
    /// The model whose keys and values are kept.
    pub model: Model,
    /// How they are stored.
    pub format: Format,
    /// Tokens per page; sequences take whole pages. Zero counts as one.
    pub page: u64,
}

impl CachePlan {
    /// Bytes that one more token costs, over all layers, K and V.
    pub fn bytes_per_token(&self) -> u64 {
        let head = self.format.vector_bytes(self.model.head_size);
        self.model.layers * 2 * self.model.kv_heads * head
    }

    /// Tokens that have to be kept of a sequence of `tokens`, in whole pages.
    ///
    /// A window that does not begin on a page boundary touches one page more than its length
    /// fills, hence the added page.
    pub fn tokens_held(&self, tokens: u64) -> u64 {
        let page = self.page.max(1);
        let whole = tokens.div_ceil(page) * page;
        match self.model.window {
            Some(window) => whole.min(window.div_ceil(page) * page + page),
            None => whole,
        }
    }

    /// Bytes held by one sequence of `tokens`.
    pub fn bytes_per_sequence(&self, tokens: u64) -> u64 {
        self.tokens_held(tokens) * self.bytes_per_token()
    }

    /// Growth of one sequence: `(tokens, bytes)` at each power of two from `first` to `last`.
    pub fn growth(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        std::iter::successors(Some(first.max(1)), |t| t.checked_mul(2))
            .take_while(|&t| t <= last)
            .map(|t| (t, self.bytes_per_sequence(t)))
            .collect()
    }

    /// The longest context that `sequences` equally long sequences can have on `gpu`.
    pub fn longest_context(&self, gpu: &Gpu, load: &Load) -> Context {
        let weights = (self.model.parameters() * load.weight_bits).div_ceil(8);
        let Some(left) = gpu.memory.checked_sub(weights + load.reserve) else {
            return Context::WeightsDoNotFit {
                short_by: weights + load.reserve - gpu.memory,
            };
        };
        let each = left / load.sequences.max(1) / self.bytes_per_token();
        let page = self.page.max(1);
        let fits = each / page * page;
        // Once a window is held in full, further tokens cost nothing.
        match self.model.window {
            Some(_) if self.tokens_held(u64::MAX / 2) <= fits => Context::Unbounded,
            _ => Context::Tokens(fits),
        }
    }
}

/// What else lies in the GPU's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Bits per weight (16 for f16 and bf16).
    pub weight_bits: u64,
    /// Bytes kept back for activations, workspace and the driver.
    pub reserve: u64,
    /// Sequences that are decoded at the same time.
    pub sequences: u64,
}

impl Default for Load {
    /// 16-bit weights, 1 GiB kept back, one sequence.
    fn default() -> Self {
        Load {
            weight_bits: 16,
            reserve: 1 << 30,
            sequences: 1,
        }
    }
}

/// Answer of [`CachePlan::longest_context`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// This many tokens per sequence, a whole number of pages.
    Tokens(u64),
    /// The whole sliding window fits: memory sets no limit.
    Unbounded,
    /// The weights and the reserve alone are larger than the memory.
    WeightsDoNotFit {
        /// Missing bytes.
        short_by: u64,
    },
}

/// Floating-point operations of generating text, with and without a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flops {
    /// Every step runs the whole sequence.
    pub without_cache: u128,
    /// The prompt runs once, then one token per step.
    pub with_cache: u128,
}

impl Flops {
    /// Work of generating `new` tokens after a prompt of `prompt` tokens.
    ///
    /// The first new token comes out of the prompt's own pass, so step `s = 0…new−1` has
    /// `n = prompt + s` tokens of input. A step costs `Σ_{t=1…n} flops(t)` without a cache and
    /// `flops(n)` with one (the first step: the whole prompt in both). With a window `w` a token
    /// sees `min(t, w)` keys.
    pub fn of_generation(model: &Model, prompt: u64, new: u64) -> Flops {
        let visible = |t: u64| model.window.map_or(t, |w| t.min(w));
        // Σ_{t=1…n} min(t, w)
        let visible_up_to = |n: u64| {
            let (n, climb) = (u128::from(n), u128::from(visible(n)));
            climb * (climb + 1) / 2 + (n - climb) * climb
        };
        let linear = 2 * u128::from(model.matmul_parameters());
        let per_key = 4 * u128::from(model.layers * model.query_heads * model.head_size);
        let whole = |n: u64| linear * u128::from(n) + per_key * visible_up_to(n);
        let one = |n: u64| linear + per_key * u128::from(visible(n));

        let mut flops = Flops {
            without_cache: 0,
            with_cache: 0,
        };
        for step in 0..new {
            let n = prompt + step;
            flops.without_cache += whole(n);
            flops.with_cache += if step == 0 { whole(n) } else { one(n) };
        }
        flops
    }

    /// Operations that the cache makes unnecessary.
    pub fn saved(&self) -> u128 {
        self.without_cache - self.with_cache
    }
}
