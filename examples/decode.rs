//! A small transformer with random weights generates text through a paged KV cache: greedily, by beam
//! search, and by speculative decoding with token trees, which gives exactly the greedy text.
//!
//! ```sh
//! cargo run --release --example decode            # on the PTX machine
//! cargo run --release --example decode -- --cuda  # on the first GPU
//! ```
//!
//! Attention, RoPE on the way into the cache, beam steps and acceptance run on the device; the small
//! dense layers run on the host, as the library has no dense matrix product.

use std::sync::Arc;
use std::time::Instant;
use touchstone::kernels::attention::Sequences;
use touchstone::kernels::beam_search::{self, BeamSearch, Turn as BeamTurn};
use touchstone::kernels::paged_kv::{
    Format, KvCache, Options, Outputs, PageShape, Queries, Rope, RopePairs, RopeTable, Rung,
    SequenceId, paged_attention_by,
};
use touchstone::kernels::tree_verify::{
    Accepted, Draft, Drafted, Mode, Rules, Target, TokenTree, TreeMask, TreeVerifier, Trees, Turn,
    keep, tree_attention,
};
use touchstone::kernels::{Buffer, Cuda, Device, Error, Result, Vm};

const VOCABULARY: usize = 48;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_SIZE: usize = 32;
const HIDDEN: usize = HEADS * HEAD_SIZE;
const INNER: usize = 2 * HIDDEN;
const POSITIONS: usize = 128;
const NEW_TOKENS: usize = 24;
const PROMPT: [i32; 6] = [11, 4, 29, 4, 29, 7];
const THETA: f64 = 10_000.0;

/// Row-major `[outputs, inputs]`.
struct Matrix(Vec<f32>, usize);

impl Matrix {
    fn random(random: &mut Random, outputs: usize, inputs: usize) -> Matrix {
        let scale = 1.7 / (inputs as f32).sqrt();
        let weight = |_| scale * random.centred();
        Matrix((0..outputs * inputs).map(weight).collect(), inputs)
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.0.chunks_exact(self.1);
        rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
            .collect()
    }
}

struct Layer {
    q: Matrix,
    k: Matrix,
    v: Matrix,
    out: Matrix,
    up: Matrix,
    down: Matrix,
}

/// New tokens of one sequence: a run of text, or a text's last token with a tree behind it.
struct New<'a> {
    sequence: SequenceId,
    tokens: &'a [i32],
    /// Where each stands in its text.
    positions: Vec<usize>,
}

struct Transformer {
    device: Arc<dyn Device>,
    embedding: Matrix,
    layers: Vec<Layer>,
    rope: RopeTable,
    cache: KvCache,
}

impl Transformer {
    fn new(device: &Arc<dyn Device>, seed: u64) -> Result<Transformer> {
        let mut random = Random(seed);
        let shape = PageShape {
            pages: 64,
            page: 8,
            heads: KV_HEADS,
            head_size: HEAD_SIZE,
        };
        let kv = KV_HEADS * HEAD_SIZE;
        let embedding = Matrix::random(&mut random, VOCABULARY, HIDDEN);
        let mut matrix = |outputs, inputs| Matrix::random(&mut random, outputs, inputs);
        let layers = (0..LAYERS).map(|_| Layer {
            q: matrix(HIDDEN, HIDDEN),
            k: matrix(kv, HIDDEN),
            v: matrix(kv, HIDDEN),
            out: matrix(HIDDEN, HIDDEN),
            up: matrix(INNER, HIDDEN),
            down: matrix(HIDDEN, INNER),
        });
        Ok(Transformer {
            layers: layers.collect(),
            embedding,
            rope: RopeTable::of_base(device, THETA, HEAD_SIZE, POSITIONS, RopePairs::Half)?,
            cache: KvCache::new(device, LAYERS, shape, Format::F16)?,
            device: device.clone(),
        })
    }

    /// Appends the new tokens and gives the logits after each of them. With trees each sequence's new
    /// tokens are the nodes of its tree.
    fn forward(&mut self, new: &[New<'_>], trees: Option<&Trees>) -> Result<Vec<f32>> {
        let growth: Vec<_> = new
            .iter()
            .map(|new| (new.sequence, new.tokens.len()))
            .collect();
        let ids: Vec<_> = new.iter().map(|new| new.sequence).collect();
        let slots = self.cache.extend(&growth)?;
        let table = self.cache.block_table(&ids)?;
        let mut bounds = vec![0];
        bounds.extend(new.iter().scan(0, |sum, new| {
            *sum += new.tokens.len() as i32;
            Some(*sum)
        }));
        let starts = Sequences::new(&self.device, &bounds)?;
        let mask = trees.map(TreeMask::new).transpose()?;
        let positions: Vec<usize> = new.iter().flat_map(|new| new.positions.clone()).collect();
        let tokens = new.iter().flat_map(|new| new.tokens);
        let mut x: Vec<Vec<f32>> = tokens
            .map(|token| self.embedding.0[*token as usize * HIDDEN..][..HIDDEN].to_vec())
            .collect();
        for (number, layer) in self.layers.iter().enumerate() {
            let normed: Vec<Vec<f32>> = x.iter().map(|x| normalise(x)).collect();
            let all = |matrix: &Matrix| -> Vec<Vec<f32>> {
                normed.iter().map(|x| matrix.apply(x)).collect()
            };
            let mut q = all(&layer.q);
            for (q, position) in q.iter_mut().zip(&positions) {
                rotate(q, *position);
            }
            let q = Buffer::from_slice(&self.device, &q.concat())?;
            let k = Buffer::from_slice(&self.device, &all(&layer.k).concat())?;
            let v = Buffer::from_slice(&self.device, &all(&layer.v).concat())?;
            let rope = Rope {
                table: &self.rope,
                positions: &positions,
            };
            self.cache.append(number, &slots, &k, &v, Some(rope))?;

            let mut o = Buffer::uninit(&self.device, x.len() * HIDDEN)?;
            let mut lse = Buffer::uninit(&self.device, x.len() * HEADS)?;
            let queries = Queries {
                q: &q,
                heads: HEADS,
                starts: trees.is_none().then_some(&starts),
                sink_logits: None,
            };
            let outputs = Outputs {
                o: &mut o,
                lse: &mut lse,
            };
            let options = Options::new(1.0 / (HEAD_SIZE as f32).sqrt());
            let pages = self.cache.pages(number)?;
            // Rung 1 takes the keys one by one: a token gets the same bits alone and in a tree.
            let rung = Rung::Plain;
            match (trees, &mask) {
                (Some(trees), Some(mask)) => tree_attention(
                    &queries,
                    trees,
                    mask,
                    pages,
                    &table,
                    &options,
                    Some(rung),
                    outputs,
                )?,
                _ => paged_attention_by(rung, &queries, pages, &table, &options, outputs)?,
            }
            let o = o.to_vec()?;
            for (x, o) in x.iter_mut().zip(o.chunks_exact(HIDDEN)) {
                add(x, &layer.out.apply(o));
                let inner = layer.up.apply(&normalise(x));
                let inner: Vec<f32> = inner.iter().map(|x| x / (1.0 + (-x).exp())).collect();
                add(x, &layer.down.apply(&inner));
            }
        }
        let logits = x.iter().flat_map(|x| self.embedding.apply(&normalise(x)));
        Ok(logits.collect())
    }

    /// A sequence that holds these tokens; the logits after the last.
    fn read(&mut self, tokens: &[i32]) -> Result<(SequenceId, Vec<f32>)> {
        let sequence = self.cache.create();
        let logits = self.go_on(sequence, 0, tokens)?;
        Ok((sequence, logits))
    }

    /// The logits after the last of these tokens, the first of which stands at `position`.
    fn go_on(&mut self, sequence: SequenceId, position: usize, tokens: &[i32]) -> Result<Vec<f32>> {
        let new = New {
            sequence,
            tokens,
            positions: (position..position + tokens.len()).collect(),
        };
        let mut logits = self.forward(&[new], None)?;
        Ok(logits.split_off(logits.len() - VOCABULARY))
    }

    fn greedy(&mut self) -> Result<Vec<i32>> {
        let (sequence, mut logits) = self.read(&PROMPT)?;
        let mut text = PROMPT.to_vec();
        for _ in 1..NEW_TOKENS {
            text.push(argmax(&logits));
            let at = text.len() - 1;
            logits = self.go_on(sequence, at, &text[at..])?;
        }
        text.push(argmax(&logits));
        self.cache.remove(sequence)?;
        Ok(text.split_off(PROMPT.len()))
    }
}

/// Beams share the pages of what they have in common: a beam is a fork of its parent.
struct Beaming<'a> {
    model: &'a mut Transformer,
    sequences: Vec<Option<SequenceId>>,
}

impl beam_search::Model<f32> for Beaming<'_> {
    type Error = Error;

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn logits(&mut self, turn: &BeamTurn<'_>) -> Result<Buffer<f32>> {
        let mut rows = vec![0.0; turn.beams() * VOCABULARY];
        let mut sequences = vec![None; turn.beams()];
        for beam in (0..turn.beams()).filter(|beam| turn.is_active(0, *beam)) {
            let history = turn.history(0, beam);
            let parent = match turn.step().checked_sub(1) {
                Some(step) => turn.table().parent(step, 0, beam),
                None => None,
            };
            let (sequence, logits) = match parent.and_then(|parent| self.sequences[parent]) {
                None => self.model.read(&history)?,
                Some(parent) => {
                    let sequence = self.model.cache.fork(parent)?;
                    let at = history.len() - 1;
                    let logits = self.model.go_on(sequence, at, &history[at..])?;
                    (sequence, logits)
                }
            };
            rows[beam * VOCABULARY..][..VOCABULARY].copy_from_slice(&logits);
            sequences[beam] = Some(sequence);
        }
        for old in std::mem::replace(&mut self.sequences, sequences)
            .into_iter()
            .flatten()
        {
            self.model.cache.remove(old)?;
        }
        Buffer::from_slice(&self.model.device, &rows)
    }
}

fn beam(model: &mut Transformer, beams: usize) -> Result<(Vec<i32>, f32)> {
    let mut rules = beam_search::Rules::new(beams, VOCABULARY as i32);
    rules.max_new_tokens = NEW_TOKENS;
    let search = BeamSearch::new(&model.device, rules)?;
    let sequences = vec![None; beams];
    let mut beaming = Beaming { model, sequences };
    let found = search.run(&mut beaming, &[&PROMPT])?;
    for sequence in beaming.sequences.into_iter().flatten() {
        beaming.model.cache.remove(sequence)?;
    }
    Ok((found[0][0].tokens.clone(), found[0][0].acc))
}

/// Proposes what followed the last token where it stood before, and a few siblings.
struct Lookup;

impl Draft for Lookup {
    type Error = Error;

    fn propose(&mut self, _: usize, text: &[i32], room: usize) -> Result<Drafted> {
        let (mut tokens, mut parents) = (Vec::new(), Vec::new());
        let last = text.len() - 1;
        for at in (0..last).rev().filter(|at| text[*at] == text[last]).take(3) {
            let mut parent = -1;
            for token in text[at + 1..].iter().take(room.min(4)) {
                let known =
                    (0..tokens.len()).find(|i| parents[*i] == parent && tokens[*i] == *token);
                parent = known.unwrap_or_else(|| {
                    tokens.push(*token);
                    parents.push(parent);
                    tokens.len() - 1
                }) as i32;
            }
        }
        Ok(Drafted {
            tree: TokenTree::new(&tokens, &parents)?,
            distribution: None,
        })
    }
}

/// The text's last token is not in the cache yet: it goes in as the root of the tree.
struct Verifying<'a> {
    model: &'a mut Transformer,
    sequence: SequenceId,
    turns: usize,
}

impl Target<f32> for Verifying<'_> {
    type Error = Error;

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn logits(&mut self, turn: &Turn<'_>) -> Result<Buffer<f32>> {
        self.turns += 1;
        let (text, tree) = (turn.history(0), turn.tree(0));
        let root = text.len() - 1;
        let tokens: Vec<i32> = [&text[root..], tree.tokens()].concat();
        let above = tree.parents().iter().map(|parent| parent + 1);
        let parents: Vec<i32> = std::iter::once(-1).chain(above).collect();
        let rooted = TokenTree::new(&tokens, &parents)?;
        let depth = |node| root + rooted.path(node).len() - 1;
        let new = New {
            sequence: self.sequence,
            tokens: &tokens,
            positions: (0..tokens.len()).map(depth).collect(),
        };
        let trees = Trees::new(&self.model.device, std::slice::from_ref(&rooted))?;
        let logits = self.model.forward(&[new], Some(&trees))?;
        Buffer::from_slice(&self.model.device, &logits)
    }

    fn accepted(&mut self, turn: &Turn<'_>, accepted: &Accepted) -> Result<()> {
        keep(
            &mut self.model.cache,
            &[self.sequence],
            turn.trees(),
            accepted,
        )
    }
}

fn verified(model: &mut Transformer) -> Result<(Vec<i32>, usize)> {
    let rules = Rules {
        stop: Vec::new(),
        max_new_tokens: NEW_TOKENS,
    };
    let verifier = TreeVerifier::new(&model.device, rules, Mode::Greedy)?;
    let (sequence, _) = model.read(&PROMPT[..PROMPT.len() - 1])?;
    let mut target = Verifying {
        model,
        sequence,
        turns: 0,
    };
    let mut texts = verifier.run(&mut Lookup, &mut target, &[&PROMPT])?;
    let turns = target.turns;
    model.cache.remove(sequence)?;
    Ok((texts.remove(0), turns))
}

fn normalise(x: &[f32]) -> Vec<f32> {
    let square: f32 = x.iter().map(|x| x * x).sum();
    let scale = 1.0 / (square / x.len() as f32 + 1e-6).sqrt();
    x.iter().map(|x| x * scale).collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// RoPE of the queries; the cache rotates the keys.
fn rotate(q: &mut [f32], position: usize) {
    let half = HEAD_SIZE / 2;
    for head in q.chunks_exact_mut(HEAD_SIZE) {
        for f in 0..half {
            let angle = position as f64 * THETA.powf(-2.0 * f as f64 / HEAD_SIZE as f64);
            let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
            let (a, b) = (head[f], head[f + half]);
            (head[f], head[f + half]) = (a * cos - b * sin, b * cos + a * sin);
        }
    }
}

fn argmax(logits: &[f32]) -> i32 {
    let best = (0..logits.len()).reduce(|a, b| if logits[b] > logits[a] { b } else { a });
    best.unwrap_or(0) as i32
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// From −1 to 1.
    fn centred(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let cuda = std::env::args().skip(1).any(|arg| arg == "--cuda");
    let device: Arc<dyn Device> = if cuda { Cuda::open(0)? } else { Vm::new() };
    println!(
        "{} layers, {} of {} heads, on {}",
        LAYERS,
        KV_HEADS,
        HEADS,
        device.name()
    );
    let mut model = Transformer::new(&device, 7)?;
    let pages = model.cache.allocator().free();

    let start = Instant::now();
    let greedy = model.greedy()?;
    println!("greedy        {greedy:?}  {:.1?}", start.elapsed());

    let start = Instant::now();
    let (one, alone) = beam(&mut model, 1)?;
    let (best, score) = beam(&mut model, 4)?;
    println!("4 beams       {best:?}  {:.1?}", start.elapsed());
    println!("              log-probability {score:.3}, greedy {alone:.3}");

    let start = Instant::now();
    let (text, turns) = verified(&mut model)?;
    println!("token trees   {text:?}  {:.1?}", start.elapsed());
    println!(
        "              {} tokens in {turns} turns of the model",
        text.len()
    );

    assert_eq!(one, greedy, "one beam is greedy decoding");
    assert_eq!(
        text, greedy,
        "token trees change the time a text takes, not the text"
    );
    assert_eq!(
        model.cache.allocator().free(),
        pages,
        "every page came back"
    );
    Ok(())
}
