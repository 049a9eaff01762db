//! Which rankings are right when scores are only known within bounds.
//!
//! Candidates are numbered in the order of the tie rule (lower number first). A ranking of the k
//! best is right when *some* scores inside the bounds would produce it:
//!
//! * along the ranking, scores can be chosen that never rise: each candidate's lowest possible
//!   score is at most the highest possible score of everyone ranked before it;
//! * nobody left out must lie above somebody chosen;
//! * candidates of one *tie class* have exactly equal scores however they are computed, so among
//!   them the lower number comes first, and is chosen first.
//!
//! Where bounds do not overlap and no class has two members this leaves exactly one ranking.

use std::collections::{HashMap, HashSet};

use crate::numbers::Bounded;

/// Why a ranking is wrong. Ranks count from 0.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Misranked {
    /// The same candidate twice.
    #[error("rank {rank}: candidate {candidate} was already chosen at rank {first}")]
    Duplicate {
        /// Where it comes again.
        rank: usize,
        /// The candidate.
        candidate: usize,
        /// Where it came first.
        first: usize,
    },
    /// A candidate is ranked below one that cannot be better.
    #[error(
        "rank {rank}: candidate {candidate} scores {} and belongs before candidate {before} \
         (score {})", plus_minus(*score), plus_minus(*before_score)
    )]
    Order {
        /// Rank of the better candidate.
        rank: usize,
        /// The better candidate, ranked too low.
        candidate: usize,
        /// Its score.
        score: Bounded,
        /// A worse one ranked before it.
        before: usize,
        /// That one's score.
        before_score: Bounded,
    },
    /// A candidate is missing that is surely better than one that is there.
    #[error(
        "candidate {missing} (score {}) is left out, but candidate {candidate} (score {}) is \
         chosen", plus_minus(*missing_score), plus_minus(*score)
    )]
    LeftOut {
        /// The candidate that should be there.
        missing: usize,
        /// Its score.
        missing_score: Bounded,
        /// One that is there and should not be.
        candidate: usize,
        /// That one's score.
        score: Bounded,
    },
    /// Of exactly tied candidates a later one is preferred.
    #[error("candidates {lower} and {chosen} are exactly tied: {lower} comes first")]
    Tie {
        /// The one that comes first by the tie rule.
        lower: usize,
        /// The one that was preferred.
        chosen: usize,
    },
}

/// `value ± bound`, the bound to two digits and the value as far as it is certain.
pub fn plus_minus(x: Bounded) -> String {
    if x.bound == 0.0 || !x.bound.is_finite() || !x.value.is_finite() {
        return if x.bound == 0.0 {
            x.value.to_string()
        } else {
            format!("{} ± {}", x.value, x.bound)
        };
    }
    let digits = (1.0 - x.bound.log10().floor()).clamp(0.0, 17.0) as usize;
    format!("{:.digits$} ± {:.1e}", x.value, x.bound)
}

/// An answered number with the fewest digits that tell it from its neighbours in f32.
pub fn shortest(got: f64) -> String {
    if f64::from(got as f32) == got {
        (got as f32).to_string()
    } else {
        got.to_string()
    }
}

/// Checks `chosen`, best first, as the `chosen.len()` best of candidates with these `scores`.
///
/// `class` names a candidate's tie class. Scores are numbers or −∞, never NaN; every member of
/// `chosen` is below `scores.len()` (both are the caller's to ensure).
pub fn check_ranking(
    scores: &[Bounded],
    class: impl Fn(usize) -> u64,
    chosen: &[usize],
) -> Result<(), Misranked> {
    let mut rank_of = HashMap::with_capacity(chosen.len());
    let mut latest_of_class: HashMap<u64, usize> = HashMap::new();
    // The candidate so far whose highest possible score is lowest.
    let mut weakest: Option<usize> = None;
    let high = |i: usize| scores[i].value + scores[i].bound;
    let low = |i: usize| scores[i].value - scores[i].bound;
    for (rank, &candidate) in chosen.iter().enumerate() {
        if let Some(&first) = rank_of.get(&candidate) {
            return Err(Misranked::Duplicate {
                rank,
                candidate,
                first,
            });
        }
        rank_of.insert(candidate, rank);
        if let Some(before) = weakest.filter(|&before| low(candidate) > high(before)) {
            return Err(Misranked::Order {
                rank,
                candidate,
                score: scores[candidate],
                before,
                before_score: scores[before],
            });
        }
        if weakest.is_none_or(|before| high(candidate) < high(before)) {
            weakest = Some(candidate);
        }
        let latest = latest_of_class.entry(class(candidate)).or_insert(candidate);
        if candidate < *latest {
            return Err(Misranked::Tie {
                lower: candidate,
                chosen: *latest,
            });
        }
        *latest = candidate;
    }
    let Some(weakest) = weakest else {
        return Ok(());
    };
    let chosen: HashSet<usize> = chosen.iter().copied().collect();
    for missing in (0..scores.len()).filter(|i| !chosen.contains(i)) {
        if low(missing) > high(weakest) {
            return Err(Misranked::LeftOut {
                missing,
                missing_score: scores[missing],
                candidate: weakest,
                score: scores[weakest],
            });
        }
        if let Some(&latest) = latest_of_class.get(&class(missing))
            && missing < latest
        {
            return Err(Misranked::Tie {
                lower: missing,
                chosen: latest,
            });
        }
    }
    Ok(())
}

/// The canonical ranking: by value, exact ties by number; the `k` best, best first.
pub fn rank(scores: &[Bounded], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let by_score = |a: &usize, b: &usize| {
        // Adding zero makes −0 and +0 one number under the total order.
        let (a_score, b_score) = (scores[*a].value + 0.0, scores[*b].value + 0.0);
        b_score.total_cmp(&a_score).then(a.cmp(b))
    };
    if k < order.len() && k > 0 {
        order.select_nth_unstable_by(k - 1, by_score);
    }
    order.truncate(k);
    order.sort_unstable_by(by_score);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::strategy;
    use proptest::prelude::*;

    fn scores(items: &[(f64, f64)]) -> Vec<Bounded> {
        items
            .iter()
            .map(|&(value, bound)| Bounded::new(value, bound))
            .collect()
    }

    fn check(scores: &[Bounded], chosen: &[usize]) -> Result<(), Misranked> {
        check_ranking(scores, |i| scores[i].value.to_bits(), chosen)
    }

    #[test]
    fn separated_scores_have_one_ranking() {
        let s = scores(&[(1.0, 0.1), (3.0, 0.1), (2.0, 0.1), (0.0, 0.1)]);
        assert_eq!(check(&s, &[1, 2]), Ok(()));
        assert!(matches!(
            check(&s, &[2, 1]),
            Err(Misranked::Order {
                candidate: 1,
                before: 2,
                ..
            })
        ));
        assert!(matches!(
            check(&s, &[1, 0]),
            Err(Misranked::LeftOut { missing: 2, .. })
        ));
        assert!(matches!(
            check(&s, &[1, 1]),
            Err(Misranked::Duplicate {
                rank: 1,
                first: 0,
                ..
            })
        ));
    }

    #[test]
    fn overlapping_scores_may_swap_but_not_through_a_third() {
        let s = scores(&[(1.0, 0.3), (1.5, 0.3), (2.0, 0.3)]);
        for right in [[2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            assert_eq!(check(&s, &right), Ok(()), "{right:?}");
        }
        // 0 may precede 1 and 1 may precede 2, but 0 cannot precede 2.
        for wrong in [[0, 1, 2], [0, 2, 1], [1, 0, 2]] {
            assert!(
                matches!(check(&s, &wrong), Err(Misranked::Order { .. })),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn exact_ties_go_to_the_lower_number_however_wide_the_bound() {
        let s = scores(&[(1.0, 0.5), (1.0, 0.5), (1.2, 0.5)]);
        assert_eq!(check(&s, &[0, 2]), Ok(()));
        assert_eq!(
            check(&s, &[2, 1]),
            Err(Misranked::Tie {
                lower: 0,
                chosen: 1
            })
        );
        assert_eq!(
            check(&s, &[1, 0]),
            Err(Misranked::Tie {
                lower: 0,
                chosen: 1
            })
        );
        let minus_infinity = [Bounded::exact(f64::NEG_INFINITY); 3];
        assert_eq!(check(&minus_infinity, &[0, 1]), Ok(()));
        assert!(check(&minus_infinity, &[0, 2]).is_err());
    }

    #[test]
    fn zeros_of_both_signs_tie() {
        assert_eq!(
            rank(&scores(&[(-0.0, 0.0), (0.0, 0.0), (-0.0, 0.0)]), 3),
            [0, 1, 2]
        );
    }

    #[test]
    fn explanations_show_as_many_digits_as_are_certain() {
        assert_eq!(
            plus_minus(Bounded::new(0.021_123_456_7, 2.3e-7)),
            "0.02112346 ± 2.3e-7"
        );
        assert_eq!(plus_minus(Bounded::exact(1.5)), "1.5");
        assert_eq!(plus_minus(Bounded::exact(f64::NEG_INFINITY)), "-inf");
    }

    proptest! {
        /// Every ranking of scores moved within their bounds is right; the canonical one is; and
        /// exhaustively, a ranking is right exactly when such scores exist (tried on a grid).
        #[test]
        fn rankings_of_moved_scores_are_right(mut rng in strategy::rng(), n in 1usize..30) {
            let k = rng.between(1, n);
            let s: Vec<_> = (0..n)
                .map(|_| Bounded::new((rng.normal() * 4.0).round() / 4.0 + 1e-9 * rng.normal(), rng.uniform(0.0, 0.3)))
                .collect();
            prop_assert_eq!(check(&s, &rank(&s, k)), Ok(()));
            let moved: Vec<_> = s
                .iter()
                .map(|s| Bounded::exact(s.value + s.bound * rng.uniform(-1.0, 1.0)))
                .collect();
            prop_assert_eq!(check(&s, &rank(&moved, k)), Ok(()));
        }

        /// A right ranking stops being right when two surely ordered members are swapped.
        #[test]
        fn swapping_separated_members_is_wrong(mut rng in strategy::rng(), n in 2usize..30) {
            let s: Vec<_> =
                (0..n).map(|_| Bounded::new(rng.normal(), rng.uniform(0.0, 0.05))).collect();
            let mut order = rank(&s, n);
            let (a, b) = (rng.below(n), rng.below(n));
            let (a, b) = (a.min(b), a.max(b));
            let (first, second) = (s[order[a]], s[order[b]]);
            prop_assume!(first.value - first.bound > second.value + second.bound);
            order.swap(a, b);
            prop_assert!(check(&s, &order).is_err());
        }
    }
}
