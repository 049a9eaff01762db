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
    /// The keys that query `row` sees: ranges that rise and do not touch, none of them empty.
    fn ranges(&self, row: usize) -> Vec<Range<usize>>;
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
        let position = self.position(row);
        let (mut low, mut high) = (0, self.causal_end(row));
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

    fn position(&self, row: usize) -> i128 {
        row as i128 + self.keys as i128 - self.queries as i128
    }

    /// First key that even a sink may not be.
    fn causal_end(&self, row: usize) -> i128 {
        let end = self.keys as i128;
        if self.causal {
            end.min(self.position(row) + 1)
        } else {
            end
        }
    }
}

impl Mask for Band {
    fn ranges(&self, row: usize) -> Vec<Range<usize>> {
        let sinks = self.window.map_or(0, |window| window.sinks as i128);
        let (low, high) = self.limits(row);
        join([(0, sinks.min(self.causal_end(row))), (low, high)])
    }
}

/// What a kernel sees that never comes to the last quarter of each row's keys.
pub(crate) struct WithoutLastTile(pub(crate) Box<dyn Mask>);

impl Mask for WithoutLastTile {
    fn ranges(&self, row: usize) -> Vec<Range<usize>> {
        let ranges = self.0.ranges(row);
        let all: usize = ranges.iter().map(Range::len).sum();
        let mut left = all - all.div_ceil(4);
        let cut = |range: Range<usize>| {
            let taken = range.len().min(left);
            left -= taken;
            (range.start as i128, (range.start + taken) as i128)
        };
        join(ranges.into_iter().map(cut))
    }
}

/// Ranges given by their ends, in the order of their starts: without the empty ones, those that
/// touch made one.
pub(crate) fn join(ranges: impl IntoIterator<Item = (i128, i128)>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for (start, end) in ranges {
        if end <= start {
            continue;
        }
        let range = start as usize..end as usize;
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// The least range that holds all that some rows see.
pub(crate) fn span_of(ranges: &[Vec<Range<usize>>]) -> Range<usize> {
    let ends = |ranges: &Vec<Range<usize>>| Some(ranges.first()?.start..ranges.last()?.end);
    let spans = ranges.iter().filter_map(ends);
    spans
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
                        let ranges = band.ranges(i);
                        assert!(ranges.windows(2).all(|w| w[0].end < w[1].start));
                        for j in 0..keys {
                            let seen = by_sentence(&options, queries, keys, i, j);
                            let got = ranges.iter().any(|range| range.contains(&j));
                            assert_eq!(got, seen, "{options:?} {queries}×{keys} {i},{j}");
                        }
                        assert!(ranges.last().is_none_or(|range| range.end <= keys));
                    }
                }
            }
        }
    }

    #[test]
    fn causal_is_aligned_bottom_right() {
        let one = |end| vec![std::ops::Range { start: 0, end }];
        let band = Band::new(2, 5, &Options::new(1.0).causal());
        assert_eq!((band.ranges(0), band.ranges(1)), (one(4), one(5)));
        let more_queries = Band::new(5, 2, &Options::new(1.0).causal());
        assert!(more_queries.ranges(2).is_empty());
        assert_eq!(more_queries.ranges(3), one(1));
    }
}
