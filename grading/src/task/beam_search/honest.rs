//! The plain implementation, and what can go wrong in it.

use super::cases::rules;
use crate::submission::{Call, Failure, Named};
use crate::task::honest::answer;
use crate::task::{Mistake, Way};
use crate::tensor::Tensor;
use reference::beam::Rules;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "eos-leaves-the-pool",
        caught_by: &["finished-stay-in-the-pool"],
        says: "finished beams are set aside and do not compete any more",
        mend: "a finished beam is a member of the pool until K better ones push it out",
    },
    Mistake {
        name: "finished-by-raw-sum",
        caught_by: &["the-longer-eos-wins"],
        says: "finished beams are ranked by their raw sum, without the length penalty",
        mend: "rank every member of the pool by acc/length^alpha",
    },
    Mistake {
        name: "score-becomes-sum",
        caught_by: &["raw-sum-is-kept"],
        says: "the penalised score is stored as the sum, and penalised again in the next step",
        mend: "store the raw sum; the score only ranks",
    },
    Mistake {
        name: "absent-beams-expanded",
        caught_by: &["step-zero"],
        says: "beams with a sum of −inf are expanded as if it were 0: K copies of one beam",
        mend: "a beam with acc −inf is no beam",
    },
    Mistake {
        name: "forbidden-chosen",
        caught_by: &["forbidden-tokens"],
        says: "−inf logits are candidates with a very low score",
        mend: "leave tokens with logit NaN or −inf out; fill what is left over with −1",
    },
    Mistake {
        name: "one-eos-a-step",
        caught_by: &["all-candidates-end"],
        says: "of the continuations that end only the best one is kept",
        mend: "continuations that end are members of the pool like others",
    },
    Mistake {
        name: "log-softmax-skipped",
        caught_by: &["logits-are-no-log-probabilities"],
        says: "raw logits are added to the sum",
        mend: "subtract the row's lse: log-probabilities are added",
    },
    Mistake {
        name: "first-item-for-all",
        caught_by: &["items-do-not-mix"],
        says: "every item continues the sums of item 0",
        mend: "offset sums, lengths and flags by item·K",
    },
    Mistake {
        name: "ties-by-token",
        caught_by: &["ties-by-parent-first"],
        says: "ties go to the lower token, whatever its parent",
        mend: "of equal scores the lower parent comes first, then the lower token",
    },
    Mistake {
        name: "eos-always-counted",
        caught_by: &["eos-does-not-count"],
        says: "EOS is counted in the length although count_eos is off",
        mend: "the length of a beam that ends does not grow then",
    },
    Mistake {
        name: "min-length-ignored",
        caught_by: &["no-eos-before-min-length"],
        says: "EOS is allowed from the first token on",
        mend: "a beam shorter than min_length has no EOS continuation",
    },
    Mistake {
        name: "min-length-renormalises",
        caught_by: &["disallowed-eos-keeps-its-share"],
        says: "a disallowed EOS is masked before the softmax, which makes the others more probable",
        mend: "take log-probabilities of the full softmax, then leave EOS out",
    },
    Mistake {
        name: "finished-grow",
        caught_by: &["finished-are-frozen"],
        says: "the length of a finished beam goes on growing",
        mend: "a finished beam keeps sum and length as they are",
    },
    Mistake {
        name: "penalty-multiplied",
        caught_by: &["negative-alpha"],
        says: "the sum is multiplied by length^alpha",
        mend: "divide by length^alpha, whatever the sign of alpha",
    },
    Mistake {
        name: "k-continuations-a-beam",
        caught_by: &["eos-crowd"],
        says: "only K continuations of a beam enter the pool, where 2K are due",
        mend: "take the 2K best by raw log-probability: of different lengths, the score orders them \
               otherwise",
    },
    Mistake::near("max-and-log-sum", "logp is (logit − max) − ln Σ"),
    Mistake::near("power-by-exp2", "length^alpha is 2^(alpha·log₂ length)"),
    Mistake::near(
        "reciprocal-penalty",
        "the sum is multiplied by 1/length^alpha",
    ),
    Mistake::near(
        "sums-in-float64",
        "sums and scores are formed in float64 and rounded once",
    ),
];

/// A member of a pool.
#[derive(Clone, Copy)]
struct Member {
    parent: usize,
    token: i32,
    acc: f32,
    length: i32,
    finished: bool,
    score: f32,
}

/// Everything an item's step reads.
struct Item<'a> {
    rules: &'a Rules,
    logits: &'a [f32],
    acc: &'a [f32],
    length: &'a [i32],
    finished: &'a [u8],
}

pub(super) fn honest(call: &Call, way: &Way) -> Result<Vec<Named>, Failure> {
    let none = || Failure::Grader("an input is missing".into());
    let rules = rules(call);
    let logits = call.input("logits").map(Tensor::to_f32).ok_or_else(none)?;
    let acc = call.input("acc").map(Tensor::to_f32).ok_or_else(none)?;
    let length: Vec<i32> = call
        .input("length")
        .and_then(Tensor::to_vec)
        .ok_or_else(none)?;
    let finished = call.input("finished").map(Tensor::bytes).ok_or_else(none)?;
    let (beams, items) = (rules.beams, acc.len() / rules.beams);
    let row = logits.len() / items.max(1);
    let mut columns: [Vec<f64>; 6] = Default::default();
    for item in 0..items {
        let at = item * beams..(item + 1) * beams;
        let sums = match way.has("first-item-for-all") {
            true => 0..beams,
            false => at.clone(),
        };
        let item = Item {
            rules: &rules,
            logits: &logits[item * row..(item + 1) * row],
            acc: &acc[sums],
            length: &length[at.clone()],
            finished: &finished[at],
        };
        let kept = item.step(way);
        for rank in 0..beams {
            let numbers = match kept.get(rank) {
                Some(m) => [
                    m.parent as f64,
                    m.token.into(),
                    m.acc.into(),
                    m.length.into(),
                    f64::from(u8::from(m.finished)),
                    m.score.into(),
                ],
                None => [-1.0, -1.0, f64::NEG_INFINITY, 0.0, 0.0, f64::NEG_INFINITY],
            };
            columns
                .iter_mut()
                .zip(numbers)
                .for_each(|(column, x)| column.push(x));
        }
    }
    answer(call, columns)
}

impl Item<'_> {
    fn step(&self, way: &Way) -> Vec<Member> {
        let mut pool = Vec::new();
        for parent in 0..self.rules.beams {
            if self.acc[parent] == f32::NEG_INFINITY && !way.has("absent-beams-expanded") {
                continue;
            }
            match self.finished[parent] != 0 {
                true if way.has("eos-leaves-the-pool") => {}
                true => pool.push(self.frozen(parent, way)),
                false => pool.extend(self.continued(parent, way)),
            }
        }
        pool.sort_by(|a, b| {
            let ties = match way.has("ties-by-token") {
                true => a.token.cmp(&b.token).then(a.parent.cmp(&b.parent)),
                false => a.parent.cmp(&b.parent).then(a.token.cmp(&b.token)),
            };
            b.score.total_cmp(&a.score).then(ties)
        });
        if way.has("one-eos-a-step") {
            let mut ended = 0;
            pool.retain(|member| {
                ended += usize::from(member.finished && member.token >= 0);
                !(member.finished && member.token >= 0) || ended == 1
            });
        }
        pool.truncate(self.rules.beams);
        pool
    }

    fn score(&self, acc: f32, length: i32, way: &Way) -> f32 {
        let alpha = self.rules.alpha;
        if alpha == 0.0 || acc == f32::NEG_INFINITY {
            return acc;
        }
        let length = length.max(1) as f32;
        let power = match way.has("power-by-exp2") {
            true => (alpha * length.log2()).exp2(),
            false => length.powf(alpha),
        };
        match way.mistake {
            Some("penalty-multiplied") => acc * power,
            Some("reciprocal-penalty") => acc * power.recip(),
            Some("sums-in-float64") => {
                (f64::from(acc) / f64::from(length).powf(alpha.into())) as f32
            }
            _ => acc / power,
        }
    }

    fn frozen(&self, parent: usize, way: &Way) -> Member {
        let grown = i32::from(way.has("finished-grow"));
        let (acc, length) = (self.acc[parent], self.length[parent] + grown);
        let score = match way.has("finished-by-raw-sum") {
            true => acc,
            false => self.score(acc, length, way),
        };
        Member {
            parent,
            token: -1,
            acc,
            length,
            finished: true,
            score,
        }
    }

    fn continued(&self, parent: usize, way: &Way) -> Vec<Member> {
        let rules = self.rules;
        let vocabulary = self.logits.len() / rules.beams;
        let row: Vec<f32> = self.logits[parent * vocabulary..(parent + 1) * vocabulary]
            .iter()
            .map(|x| if x.is_nan() { f32::NEG_INFINITY } else { *x })
            .collect();
        let may_end = self.length[parent] as usize >= rules.min_length;
        let barred =
            |token: usize| !may_end && !way.has("min-length-ignored") && rules.is_eos(token as i32);
        let mut seen = row.clone();
        if way.has("min-length-renormalises") {
            for (token, x) in seen.iter_mut().enumerate() {
                if barred(token) {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        let max = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY && !way.has("forbidden-chosen") {
            return Vec::new();
        }
        let sum = way.order.sum(seen.len(), |i| (seen[i] - max).exp());
        let logp = |token: usize| match way.mistake {
            Some("log-softmax-skipped") => row[token],
            Some("forbidden-chosen") if row[token] == f32::NEG_INFINITY => -1e9,
            Some("max-and-log-sum") => (row[token] - max) - sum.ln(),
            _ => row[token] - (max + sum.ln()),
        };
        let mut tokens: Vec<usize> = (0..vocabulary)
            .filter(|t| row[*t] > f32::NEG_INFINITY || way.has("forbidden-chosen"))
            .filter(|t| !barred(*t))
            .collect();
        // Adding zero makes one number of −0 and +0.
        tokens.sort_by(|a, b| (row[*b] + 0.0).total_cmp(&(row[*a] + 0.0)).then(a.cmp(b)));
        match way.mistake {
            Some("k-continuations-a-beam") => tokens.truncate(rules.beams),
            _ => tokens.truncate(2 * rules.beams),
        }
        let sum_so_far = match self.acc[parent] {
            f32::NEG_INFINITY => 0.0,
            acc => acc,
        };
        let member = |token: usize| {
            let finished = rules.is_eos(token as i32);
            let counts = !finished || rules.count_eos || way.has("eos-always-counted");
            let length = self.length[parent] + i32::from(counts);
            let acc = match way.has("sums-in-float64") {
                true => (f64::from(sum_so_far) + f64::from(logp(token))) as f32,
                false => sum_so_far + logp(token),
            };
            let score = self.score(acc, length, way);
            Member {
                parent,
                token: token as i32,
                acc: if way.has("score-becomes-sum") {
                    score
                } else {
                    acc
                },
                length,
                finished,
                score,
            }
        };
        tokens.into_iter().map(member).collect()
    }
}
