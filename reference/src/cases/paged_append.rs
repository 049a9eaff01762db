//! Cases of appending tokens to a paged cache, with or without RoPE.

use half::f16;

use super::{Case, NoMargin, Rng, mixed_up_to};
use crate::error::Result;
use crate::numbers::{Bounded, BoundedTensor, DType, Element, Precision};
use crate::paged_kv::append::{RopePairs, rope_table, rotate};
use crate::paged_kv::{AppendFault, Format, PageShape, PageStore, Pages, judge_append};
use crate::tensor::View;

/// How k is rotated on its way into the cache.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Which components form a pair.
    pub pairs: RopePairs,
    /// Position of each token.
    pub position: Vec<i32>,
    /// Rows of the tables.
    pub positions: usize,
    /// `[positions, D/2]`.
    pub cos: Vec<f32>,
    /// `[positions, D/2]`.
    pub sin: Vec<f32>,
}

/// Inputs of an append.
#[derive(Clone, Debug)]
pub struct PagedAppend<T> {
    /// `[T, Hkv, D]`.
    pub k: Vec<T>,
    /// `[T, Hkv, D]`.
    pub v: Vec<T>,
    /// Slot of each token, `page·page_size + offset`; no two alike.
    pub slots: Vec<i32>,
    /// Rotation of k, if any.
    pub rope: Option<Rope>,
    /// The K pages before; slots without a token are poisoned.
    pub before_k: PageStore,
    /// The V pages before.
    pub before_v: PageStore,
}

/// What is right: the tokens as they are before they are stored.
#[derive(Clone, Debug)]
pub struct Appended {
    /// `[T, Hkv, D]`, rotated; exact where there is no rotation.
    pub k: BoundedTensor,
    /// `[T, Hkv, D]`, exact.
    pub v: BoundedTensor,
}

impl<T: Element> PagedAppend<T> {
    /// `tokens` tokens for random slots of pages in this shape and format. Vectors mix scales and
    /// patterns: constants and zeros (degenerate scales), outliers, subnormals.
    pub fn with_shape(
        rng: &mut Rng,
        tokens: usize,
        shape: PageShape,
        format: Format,
    ) -> Result<Self> {
        let mut slots: Vec<i32> = (0..shape.slots() as i32).collect();
        rng.shuffle(&mut slots);
        slots.truncate(tokens);
        let (heads, d) = (shape.heads, shape.head_size);
        // Into f16 goes what f16 can hold.
        let narrow = format == Format::Float(DType::F16);
        let mut rows = || -> Vec<T> {
            match narrow {
                false => mixed_up_to(rng, slots.len() * heads, d, 1e3),
                true => mixed_up_to::<f16>(rng, slots.len() * heads, d, 1.0)
                    .into_iter()
                    .map(|x| T::from_f64(x.to_f64()))
                    .collect(),
            }
        };
        let (k, v) = (rows(), rows());
        let rope = (d.is_multiple_of(2) && rng.chance(0.5)).then(|| {
            let positions = rng.between(1, 64);
            let (cos, sin) = rope_table(10_000.0, d, positions);
            Rope {
                pairs: rng.choose(&[RopePairs::Half, RopePairs::Interleaved]),
                position: slots.iter().map(|_| rng.below(positions) as i32).collect(),
                positions,
                cos,
                sin,
            }
        });
        let mut before = [
            PageStore::new(shape, format)?,
            PageStore::new(shape, format)?,
        ];
        for pages in &mut before {
            for slot in 0..shape.slots() {
                // Where a token is appended there was none.
                match slots.contains(&(slot as i32)) || rng.chance(0.5) {
                    true => pages.poison(slot)?,
                    false => {
                        let token: Vec<f32> = mixed_up_to::<f16>(rng, heads, d, 1.0)
                            .into_iter()
                            .map(f32::from)
                            .collect();
                        pages.write("before", slot, &token)?;
                    }
                }
            }
        }
        let [before_k, before_v] = before;
        Ok(Self {
            k,
            v,
            slots,
            rope,
            before_k,
            before_v,
        })
    }

    /// What is right.
    pub fn oracle(&self) -> Result<Appended> {
        let PageShape {
            heads, head_size, ..
        } = self.before_k.shape();
        let shape = [self.slots.len(), heads, head_size];
        let exact =
            |x: &[T]| -> Vec<Bounded> { x.iter().map(|x| Bounded::exact(x.to_f64())).collect() };
        let k = match &self.rope {
            None => exact(&self.k),
            Some(rope) => {
                let table = [rope.positions, head_size / 2];
                let cos = View::new("cos", &rope.cos, table)?;
                let sin = View::new("sin", &rope.sin, table)?;
                let precision = Precision::scalar(T::DTYPE);
                let mut all = Vec::with_capacity(self.k.len());
                for (at, x) in self.k.chunks(head_size).enumerate() {
                    let position = rope.position[at / heads].max(0) as usize;
                    all.extend(rotate(x, position, cos, sin, rope.pairs, precision)?);
                }
                all
            }
        };
        Ok(Appended {
            k: BoundedTensor::new("k", &shape, k)?,
            v: BoundedTensor::new("v", &shape, exact(&self.v))?,
        })
    }

    /// Whether these pages are right after the append.
    pub fn judge(
        &self,
        k: &Pages<'_>,
        v: &Pages<'_>,
    ) -> Result<std::result::Result<(), AppendFault>> {
        let right = self.oracle()?;
        let slots: Vec<usize> = self.slots.iter().map(|&slot| slot as usize).collect();
        let of_k = judge_append(&self.before_k, &right.k, &slots, k)?;
        let of_v = judge_append(&self.before_v, &right.v, &slots, v)?;
        Ok(of_k.and(of_v))
    }

    /// The pages after these tokens were written to these slots.
    fn written(&self, before: &PageStore, tokens: &[f64], slots: &[i32]) -> Result<PageStore> {
        let PageShape {
            heads, head_size, ..
        } = before.shape();
        let mut after = before.clone();
        for (token, &slot) in tokens.chunks(heads * head_size).zip(slots) {
            let token: Vec<f32> = token.iter().map(|&x| x as f32).collect();
            after.write("token", slot as usize, &token)?;
        }
        Ok(after)
    }

    /// Wrong pages, K and V: nothing written, everything one token late, k stored as it came in.
    fn wrong_pages(&self) -> Result<Vec<(&'static str, PageStore, PageStore)>> {
        let right = self.oracle()?;
        let values = |x: &BoundedTensor| x.values().collect::<Vec<f64>>();
        let (k, v) = (values(&right.k), values(&right.v));
        let mut late = self.slots.clone();
        late.rotate_left(1);
        let after_k = |k: &[f64], slots: &[i32]| self.written(&self.before_k, k, slots);
        let after_v = |slots: &[i32]| self.written(&self.before_v, &v, slots);
        let mut wrong = vec![(
            "nothing appended",
            self.before_k.clone(),
            self.before_v.clone(),
        )];
        if self.slots.len() > 1 {
            wrong.push((
                "tokens in each other's slots",
                after_k(&k, &late)?,
                after_v(&late)?,
            ));
        }
        if self
            .rope
            .as_ref()
            .is_some_and(|rope| rope.position.iter().any(|&p| p > 0))
        {
            let unrotated: Vec<f64> = self.k.iter().map(|x| x.to_f64()).collect();
            let (k, v) = (after_k(&unrotated, &self.slots)?, after_v(&self.slots)?);
            wrong.push(("k not rotated", k, v));
        }
        Ok(wrong)
    }
}

impl<T: Element> Case for PagedAppend<T> {
    fn draw(rng: &mut Rng) -> Self {
        let shape = PageShape {
            pages: rng.between(2, 6),
            page: rng.choose(&[1, 4, 7, 16]),
            heads: rng.between(1, 3),
            head_size: rng.choose(&[5, 64, 64, 128]),
        };
        let format = rng.choose(&[Format::Float(T::DTYPE), Format::Int8, Format::Int4]);
        let tokens = rng.between(1, shape.slots().min(9));
        match Self::with_shape(rng, tokens, shape, format) {
            Ok(case) => case,
            Err(error) => unreachable!("a generated case has its shapes: {error}"),
        }
    }

    fn margin(&self) -> std::result::Result<(), NoMargin> {
        let Ok(wrong) = self.wrong_pages() else {
            unreachable!("a generated case has its shapes")
        };
        for (wrong, k, v) in wrong {
            if matches!(self.judge(&k.pages(), &v.pages()), Ok(Ok(()))) {
                let output = "pages";
                return Err(NoMargin { output, wrong });
            }
        }
        Ok(())
    }
}
