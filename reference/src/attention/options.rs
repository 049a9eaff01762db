//! What a call asks for besides its tensors, and which keys a query may see.

use std::ops::Range;

use crate::error::{Error, Result};

/// Options that every attention family shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Factor on q·k, read exactly as the f32 it is; usually 1/√D.
    pub scale: f32,
    /// Query i sees no key after its own position `i + Nk − Nq` (aligned bottom-right).
    pub causal: bool,
    /// Keys near the query's position only.
    pub window: Option<Window>,
    /// `s ← c·tanh(s/c)` on the scaled score.
    pub softcap: Option<f32>,
}

impl Options {
    /// Unmasked attention with this scale.
    pub fn new(scale: f32) -> Self {
        Self {
            scale,
            causal: false,
            window: None,
            softcap: None,
        }
    }

    /// The same, causal.
    pub fn causal(self) -> Self {
        Self {
            causal: true,
            ..self
        }
    }

    /// The same, with a window.
    pub fn window(self, window: Window) -> Self {
        Self {
            window: Some(window),
            ..self
        }
    }

    /// The same, with a softcap.
    pub fn softcap(self, cap: f32) -> Self {
        Self {
            softcap: Some(cap),
            ..self
        }
    }

    /// Errors when the scale is not finite or the softcap is not a positive number.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.scale.is_finite() {
            return Err(Error::argument("scale", self.scale, "finite"));
        }
        match self.softcap {
            Some(cap) if !(cap.is_finite() && cap > 0.0) => {
                Err(Error::argument("softcap", cap, "positive and finite"))
            }
            _ => Ok(()),
        }
    }
}

/// Keys from `left` before to `right` after the query's position, that key included; `None` is
/// without limit. As flash-attention's `window_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// How many keys before the query's position are seen.
    pub left: Option<usize>,
    /// How many keys after it.
    pub right: Option<usize>,
    /// The first keys of a sequence that are seen from everywhere (attention sinks: Xiao et al.,
    /// "Efficient streaming language models with attention sinks", 2023). They stay subject to
    /// `causal`.
    pub sinks: usize,
}

impl Window {
    /// The query's own key and the `length − 1` before it (Mistral's sliding window).
    pub fn last(length: usize) -> Self {
        Self {
            left: Some(length.saturating_sub(1)),
            right: Some(0),
            sinks: 0,
        }
    }

    /// The same, with the first `sinks` keys of the sequence always seen.
    pub fn with_sinks(self, sinks: usize) -> Self {
        Self { sinks, ..self }
    }
}

/// Which keys each query of one sequence sees.
pub trait Mask: Sync {
    /// Whether query `row` sees `key`.
    fn sees(&self, row: usize, key: usize) -> bool;

    /// A range outside which query `row` sees nothing.
    fn span(&self, row: usize) -> Range<usize>;
}

/// The band that `causal` and `window` leave.
#[derive(Clone, Debug)]
pub struct Band {
    queries: usize,
    keys: usize,
    causal: bool,
    window: Option<Window>,
}

impl Band {
    /// The band for `queries` that end where `keys` end.
    pub fn new(queries: usize, keys: usize, options: &Options) -> Self {
        Self {
            queries,
            keys,
            causal: options.causal,
            window: options.window,
        }
    }

    /// First key seen and first key not seen any more, sinks apart. Positions may be negative: a
    /// query before the first key.
    fn limits(&self, row: usize) -> (i128, i128) {
        let position = row as i128 + self.keys as i128 - self.queries as i128;
        let (mut low, mut high) = (0, self.keys as i128);
        if self.causal {
            high = high.min(position + 1);
        }
        if let Some(window) = self.window {
            if let Some(left) = window.left {
                low = low.max(position - left as i128);
            }
            if let Some(right) = window.right {
                high = high.min(position + right as i128 + 1);
            }
        }
        (low, high)
    }

    /// First key that even a sink may not be.
    fn causal_end(&self, row: usize) -> i128 {
        let end = self.keys as i128;
        if self.causal {
            end.min(row as i128 + end - self.queries as i128 + 1)
        } else {
            end
        }
    }

    fn sinks(&self) -> i128 {
        self.window.map_or(0, |window| window.sinks as i128)
    }
}

impl Mask for Band {
    fn sees(&self, row: usize, key: usize) -> bool {
        let key = key as i128;
        let (low, high) = self.limits(row);
        (low <= key && key < high) || (key < self.sinks() && key < self.causal_end(row))
    }

    fn span(&self, row: usize) -> Range<usize> {
        let (mut low, mut high) = self.limits(row);
        let sinks = self.sinks().min(self.causal_end(row));
        if sinks > 0 {
            (low, high) = (0, high.max(sinks));
        }
        let high = high.clamp(0, self.keys as i128) as usize;
        (low.clamp(0, high as i128) as usize)..high
    }
}

/// The union of the spans of some rows.
pub(crate) fn span_of(mask: &dyn Mask, rows: Range<usize>) -> Range<usize> {
    rows.map(|row| mask.span(row))
        .filter(|span| !span.is_empty())
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or(0..0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of `Options` and `Window`, said once more as a sentence per key.
    fn by_sentence(options: &Options, queries: usize, keys: usize, i: usize, j: usize) -> bool {
        let position = i as i64 + keys as i64 - queries as i64;
        let j = j as i64;
        let in_past = !options.causal || j <= position;
        let Some(w) = options.window else {
            return in_past;
        };
        let near = w.left.is_none_or(|l| j >= position - l as i64)
            && w.right.is_none_or(|r| j <= position + r as i64);
        in_past && (near || j < w.sinks as i64)
    }

    #[test]
    fn bands_follow_the_rules_and_spans_contain_them() {
        let windows = [
            None,
            Some(Window::last(3)),
            Some(Window::last(2).with_sinks(2)),
            Some(Window {
                left: None,
                right: Some(1),
                sinks: 0,
            }),
            Some(Window {
                left: Some(0),
                right: None,
                sinks: 1,
            }),
        ];
        for (queries, keys) in [(1, 1), (5, 5), (3, 7), (7, 3), (4, 0), (1, 6)] {
            for causal in [false, true] {
                for window in windows {
                    let options = Options {
                        causal,
                        window,
                        ..Options::new(1.0)
                    };
                    let band = Band::new(queries, keys, &options);
                    for i in 0..queries {
                        for j in 0..keys {
                            let seen = by_sentence(&options, queries, keys, i, j);
                            assert_eq!(
                                band.sees(i, j),
                                seen,
                                "{options:?} {queries}×{keys} {i},{j}"
                            );
                            assert!(!seen || band.span(i).contains(&j));
                        }
                        assert!(band.span(i).end <= keys);
                    }
                }
            }
        }
    }

    #[test]
    fn causal_is_aligned_bottom_right() {
        let band = Band::new(2, 5, &Options::new(1.0).causal());
        assert_eq!((band.span(0), band.span(1)), (0..4, 0..5));
        let more_queries = Band::new(5, 2, &Options::new(1.0).causal());
        assert!(more_queries.span(2).is_empty() && more_queries.span(3) == (0..1));
    }
}
