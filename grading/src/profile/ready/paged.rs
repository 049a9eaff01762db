//! Attention over pages, for sequences and for trees, and the greedy walk.

use super::{On, Out, Ready, Real};
use crate::profile::ProfileError;
use crate::submission::{Call, Failure, Named};
use crate::tensor::{DType, Scalar, Tensor};
use kernels_host::attention::Sequences;
use kernels_host::paged_kv::{
    BlockTable, Options, Outputs, PageShape, Pages, Queries, Rung, Store, paged_attention,
    paged_attention_by,
};
use kernels_host::tree_verify::{
    Accepted, Logits, TokenTree, TreeMask, Trees, accept_greedy, tree_attention,
};
use kernels_host::{Buffer, Result as Launched};

type Made = Result<Box<dyn Ready>, ProfileError>;

/// `Plain`, and `Tensor` with as many splits as the host chooses, where there is one.
pub(super) fn rungs<T: Real>(call: &Call) -> Vec<&'static str> {
    let d = call.sizes.get("D").copied().unwrap_or(0);
    let small = d == 64 || d == 128;
    let sixteen_bits = size_of::<T>() == 2;
    let tensor = match call.input("k_pages").map(Tensor::dtype) {
        // bf16 goes beyond f16, which is what f16 pages are multiplied in.
        Some(DType::F16) => small && <T as Scalar>::DTYPE == DType::F16,
        Some(DType::Bf16 | DType::I8) => small && sixteen_bits,
        Some(DType::U8) => d == 128 && sixteen_bits,
        _ => false,
    };
    match tensor {
        true => vec!["Plain", "Tensor"],
        false => vec!["Plain"],
    }
}

fn store(on: &On<'_>, which: &str) -> Result<Store, ProfileError> {
    let name = |part: &str| format!("{which}_{part}");
    let pages = name("pages");
    Ok(match on.call.input(&pages).map(Tensor::dtype) {
        Some(DType::F16) => Store::F16(on.input(&pages)?),
        Some(DType::Bf16) => Store::Bf16(on.input(&pages)?),
        Some(DType::I8) => Store::Int8 {
            codes: on.input(&pages)?,
            scale: on.input(&name("scale"))?,
        },
        Some(DType::U8) => Store::Int4 {
            packed: on.input(&pages)?,
            scale: on.input(&name("scale"))?,
            zero: on.input(&name("zero"))?,
        },
        other => return Err(Failure::Unsupported(format!("pages in {other:?}")).into()),
    })
}

struct Paged<T: Real> {
    plain: bool,
    heads: usize,
    options: Options,
    q: Buffer<T>,
    pages: Pages,
    table: BlockTable,
    starts: Option<Sequences>,
    trees: Option<Trees>,
    o: Out<T>,
    lse: Out<f32>,
}

fn paged<T: Real>(on: &On<'_>, rung: &str) -> Result<Paged<T>, ProfileError> {
    let d = on.size("D");
    let shape = PageShape {
        pages: on.size("P"),
        page: on.size("page"),
        heads: on.size("Hkv"),
        head_size: d,
    };
    let table = (on.host::<i32>("block_table")?, on.host::<i32>("seq_len")?);
    Ok(Paged {
        plain: rung == "Plain",
        heads: on.size("Hq"),
        options: Options::new(1.0 / (d as f32).sqrt()),
        q: on.input("q")?,
        pages: Pages::new(shape, store(on, "k")?, store(on, "v")?)?,
        table: BlockTable::new(on.device, &shape, &table.0, &table.1)?,
        starts: None,
        trees: None,
        o: on.output("o")?,
        lse: on.output("lse")?,
    })
}

pub(super) fn attention<T: Real>(on: &On<'_>, rung: &str) -> Made {
    let mut paged = paged::<T>(on, rung)?;
    if on.call.op == "prefill" {
        let starts = on.host::<i32>("starts")?;
        paged.starts = Some(Sequences::new(on.device, &starts)?);
    }
    Ok(Box::new(paged))
}

/// The call's trees; without tokens where it has none.
fn trees(on: &On<'_>) -> Result<Trees, ProfileError> {
    let (parent, starts) = (on.host::<i32>("parent")?, on.host::<i32>("starts")?);
    let token = match on.call.input("token") {
        Some(_) => on.host::<i32>("token")?,
        None => vec![0; parent.len()],
    };
    let item = |ends: &[i32]| {
        let nodes = ends[0] as usize..ends[1] as usize;
        TokenTree::new(&token[nodes.clone()], &parent[nodes])
    };
    let all = starts
        .windows(2)
        .map(item)
        .collect::<Launched<Vec<TokenTree>>>()?;
    Ok(Trees::new(on.device, &all)?)
}

pub(super) fn tree<T: Real>(on: &On<'_>, rung: &str) -> Made {
    let mut paged = paged::<T>(on, rung)?;
    paged.trees = Some(trees(on)?);
    Ok(Box::new(paged))
}

impl<T: Real> Ready for Paged<T> {
    fn run(&mut self) -> Launched<()> {
        let queries = Queries {
            q: &self.q,
            heads: self.heads,
            starts: self.starts.as_ref(),
            sink_logits: None,
        };
        let outputs = Outputs {
            o: &mut self.o.buffer,
            lse: &mut self.lse.buffer,
        };
        let (pages, table, options) = (&self.pages, &self.table, &self.options);
        if let Some(trees) = &self.trees {
            let rung = self.plain.then_some(Rung::Plain);
            let mask = TreeMask::new(trees)?;
            return tree_attention(&queries, trees, &mask, pages, table, options, rung, outputs);
        }
        match self.plain {
            true => paged_attention_by(Rung::Plain, &queries, pages, table, options, outputs),
            false => paged_attention(&queries, pages, table, options, outputs),
        }
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        Ok(vec![self.o.read()?, self.lse.read()?])
    }

    fn spoil(&mut self) -> Launched<()> {
        self.o.spoil()?;
        self.lse.spoil()
    }
}

struct Accept<T: Real> {
    trees: Trees,
    logits: Buffer<T>,
    vocabulary: usize,
    stop: Buffer<i32>,
    /// What the last run allocated and wrote.
    accepted: Option<Accepted>,
}

pub(super) fn accept<T: Real>(on: &On<'_>) -> Made {
    Ok(Box::new(Accept::<T> {
        trees: trees(on)?,
        logits: on.input("logits")?,
        vocabulary: on.size("V"),
        stop: Buffer::from_slice(on.device, &[])?,
        accepted: None,
    }))
}

impl<T: Real> Ready for Accept<T> {
    fn run(&mut self) -> Launched<()> {
        let logits = Logits {
            rows: &self.logits,
            vocabulary: self.vocabulary,
        };
        self.accepted = Some(accept_greedy(&self.trees, logits, &self.stop, None)?);
        Ok(())
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        let nothing = || Failure::Grader("a rung that never ran has no outputs".into());
        let accepted = self.accepted.as_ref().ok_or_else(nothing)?;
        let [nodes, items] = [self.trees.nodes(), self.trees.items()];
        Ok(vec![
            super::read("node", &[nodes], &accepted.node)?,
            super::read("accepted", &[nodes], &accepted.token)?,
            super::read("count", &[items], &accepted.count)?,
            super::read("bonus", &[items], &accepted.bonus)?,
        ])
    }

    fn spoil(&mut self) -> Launched<()> {
        self.accepted = None;
        Ok(())
    }
}
