//! Pages as tensors of a call, and as what the oracle reads.

use crate::submission::{Call, Named};
use crate::tensor::Tensor;
use half::{bf16, f16};
use reference::paged_kv::{PageShape, PageStore, Pages};

/// Elements of pages that own their memory, so that the oracle can borrow them.
#[derive(Clone, Debug)]
pub(in crate::task) enum Owned {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    Int8(Vec<i8>, Vec<f16>),
    Int4(Vec<u8>, Vec<f16>, Vec<f16>),
}

impl Owned {
    /// The pages `k` or `v` among named tensors.
    pub(in crate::task) fn read(which: &str, tensors: &[Named]) -> Result<Owned, String> {
        let find = |part: &str| {
            let name = format!("{which}_{part}");
            let found = tensors.iter().find(|named| named.name == name);
            found.map(|named| &named.tensor)
        };
        let pages = find("pages").ok_or_else(|| format!("no {which}_pages"))?;
        let statistic = |part: &str| {
            let missing = || format!("no {which}_{part} in f16");
            find(part)
                .and_then(Tensor::to_vec::<f16>)
                .ok_or_else(missing)
        };
        if let Some(x) = pages.to_vec() {
            return Ok(Owned::F32(x));
        }
        if let Some(x) = pages.to_vec() {
            return Ok(Owned::F16(x));
        }
        if let Some(x) = pages.to_vec() {
            return Ok(Owned::Bf16(x));
        }
        if let Some(codes) = pages.to_vec() {
            return Ok(Owned::Int8(codes, statistic("scale")?));
        }
        match pages.to_vec() {
            Some(packed) => Ok(Owned::Int4(packed, statistic("scale")?, statistic("zero")?)),
            None => Err(format!("{which}_pages in {}", pages.dtype())),
        }
    }

    /// Borrowed.
    pub(in crate::task) fn pages(&self) -> Pages<'_> {
        match self {
            Owned::F32(x) => Pages::F32(x),
            Owned::F16(x) => Pages::F16(x),
            Owned::Bf16(x) => Pages::Bf16(x),
            Owned::Int8(codes, scale) => Pages::Int8 { codes, scale },
            Owned::Int4(packed, scale, zero) => Pages::Int4 {
                packed,
                scale,
                zero,
            },
        }
    }
}

/// The tensors of K and V pages, in the contract's order.
pub(in crate::task) fn tensors(k: &PageStore, v: &PageStore) -> Vec<Named> {
    let mut named = Vec::new();
    let (k_parts, v_parts) = (parts(k), parts(v));
    for (k, v) in k_parts.into_iter().zip(v_parts) {
        for (which, (part, tensor)) in [("k", k), ("v", v)] {
            named.push(Named {
                name: format!("{which}_{part}"),
                tensor,
            });
        }
    }
    named
}

fn parts(store: &PageStore) -> Vec<(&'static str, Tensor)> {
    let PageShape {
        pages,
        page,
        heads,
        head_size,
    } = store.shape();
    let vectors = [pages, page, heads];
    let with = |last: usize| [pages, page, heads, last];
    let good = "as many as the pages' shape says";
    match store.pages() {
        Pages::F32(x) => vec![("pages", Tensor::of(&with(head_size), x).expect(good))],
        Pages::F16(x) => vec![("pages", Tensor::of(&with(head_size), x).expect(good))],
        Pages::Bf16(x) => vec![("pages", Tensor::of(&with(head_size), x).expect(good))],
        Pages::Int8 { codes, scale } => vec![
            ("pages", Tensor::of(&with(head_size), codes).expect(good)),
            ("scale", Tensor::of(&vectors, scale).expect(good)),
        ],
        Pages::Int4 {
            packed,
            scale,
            zero,
        } => {
            let bytes = head_size.div_ceil(2);
            vec![
                ("pages", Tensor::of(&with(bytes), packed).expect(good)),
                ("scale", Tensor::of(&vectors, scale).expect(good)),
                ("zero", Tensor::of(&vectors, zero).expect(good)),
            ]
        }
    }
}

/// The sizes of a call's pages. D is not theirs to say: int4 packs two a byte.
pub(in crate::task) fn shape(call: &Call, head_size: usize) -> Result<PageShape, String> {
    let pages = call.input("k_pages").ok_or("no k_pages")?;
    match pages.shape() {
        &[pages, page, heads, _] => Ok(PageShape {
            pages,
            page,
            heads,
            head_size,
        }),
        other => Err(format!("k_pages of shape {other:?}")),
    }
}
