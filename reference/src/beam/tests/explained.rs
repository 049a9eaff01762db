//! What wrong steps and bad inputs are told.

use super::*;

/// The oracle's own answer of a one-item step, to be spoiled.
struct Answer {
    parent: Vec<i32>,
    token: Vec<i32>,
    acc: Vec<f32>,
    length: Vec<i32>,
    finished: Vec<bool>,
    score: Vec<f32>,
}

impl Answer {
    fn of(step: &Step, beams: usize) -> Self {
        let mut kept = step.pools[0]
            .best(beams)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        kept.resize(beams, None);
        let none = f32::NEG_INFINITY;
        Self {
            parent: kept
                .iter()
                .map(|c| c.map_or(-1, |c| c.parent as i32))
                .collect(),
            token: kept
                .iter()
                .map(|c| c.and_then(|c| c.token).unwrap_or(-1))
                .collect(),
            acc: kept
                .iter()
                .map(|c| c.map_or(none, |c| c.beam.acc.value as f32))
                .collect(),
            length: kept
                .iter()
                .map(|c| c.map_or(0, |c| c.beam.length as i32))
                .collect(),
            finished: kept
                .iter()
                .map(|c| c.is_some_and(|c| c.beam.finished))
                .collect(),
            score: kept
                .iter()
                .map(|c| c.map_or(none, |c| c.score.value as f32))
                .collect(),
        }
    }

    fn judge(&self, step: &Step) -> std::result::Result<(), Misstep> {
        let shape = [1, self.parent.len()];
        let kept = Kept {
            parent: View::new("parent", &self.parent, shape).unwrap(),
            token: View::new("token", &self.token, shape).unwrap(),
            acc: View::new("acc", &self.acc, shape).unwrap(),
            length: View::new("length", &self.length, shape).unwrap(),
            finished: View::new("finished", &self.finished, shape).unwrap(),
            score: View::new("score", &self.score, shape).unwrap(),
        };
        step.judge(&kept).unwrap().map(|_| ())
    }
}

#[test]
fn wrong_steps_are_explained() {
    let case = StepCase::of(
        &[(-3.0, 2, true), (-5.0, 2, false)],
        &[2.0, 1.0, 0.0, f32::NAN],
    );
    let rules = Rules {
        alpha: 1.0,
        ..Rules::new(2, 9)
    };
    let step = case.oracle(&rules);
    assert_eq!(Answer::of(&step, 2).judge(&step), Ok(()));
    let said = |change: &dyn Fn(&mut Answer)| {
        let mut answer = Answer::of(&step, 2);
        change(&mut answer);
        answer.judge(&step).unwrap_err().to_string()
    };
    assert_eq!(
        said(&|a| a.token[1] = 3),
        "item 0, rank 1: parent 1 with token 3 is not in the pool: \
         the token is forbidden or not among the parent's 2K best"
    );
    assert_eq!(
        said(&|a| a.token[0] = 1),
        "item 0, rank 0: parent 0 with token 1 is not in the pool: \
         the parent is finished and takes no token"
    );
    assert_eq!(
        said(&|a| (a.parent[1], a.token[1]) = (-1, -1)),
        "item 0, rank 1: the pool has 4 candidates, so this rank must be a beam"
    );
    let message = said(&|a| a.token[1] = 1);
    assert!(message.contains("left out"), "{message}");
    assert!(
        message.ends_with("as (parent, token): 1 = (1, 0), 2 = (1, 1)"),
        "{message}"
    );
    let message = said(&|a| a.acc[1] = -1.8);
    assert!(
        message.starts_with("item 0, rank 1: sum of parent 1, token 0 is -5.4076"),
        "{message}"
    );
    assert!(message.ends_with("yours -1.8"), "{message}");
    assert!(said(&|a| a.length[1] = 2).contains("length of parent 1, token 0 is 3, yours 2"));
    assert!(said(&|a| a.score[0] = -3.0).contains("score of parent 0, token -1"));
}

#[test]
fn bad_input_is_refused_by_name() {
    let case = || StepCase::of(&[(-3.0, 2, true), (-5.0, 2, false)], &HALF);
    let refused = |case: StepCase, rules: Rules| case.try_oracle(&rules).unwrap_err().about();
    assert_eq!(refused(case(), Rules::new(3, 0)), "logits");
    assert_eq!(refused(case(), Rules::new(0, 0)), "K");
    assert_eq!(
        refused(
            case(),
            Rules {
                alpha: f32::NAN,
                ..Rules::new(2, 0)
            }
        ),
        "alpha"
    );
    assert_eq!(
        refused(
            case(),
            Rules {
                n_best: 3,
                ..Rules::new(2, 0)
            }
        ),
        "n_best"
    );
    assert_eq!(
        refused(
            StepCase {
                acc: vec![f32::NAN; 2],
                ..case()
            },
            Rules::new(2, 0)
        ),
        "acc"
    );
    assert_eq!(
        refused(
            StepCase {
                length: vec![1, -1],
                ..case()
            },
            Rules::new(2, 0)
        ),
        "length"
    );
    assert_eq!(
        refused(
            StepCase {
                acc: vec![0.0; 3],
                ..case()
            },
            Rules::new(2, 0)
        ),
        "acc"
    );
    let infinite = StepCase {
        logits: vec![f32::INFINITY; 6],
        ..case()
    };
    assert_eq!(refused(infinite, Rules::new(2, 0)), "logits");
    let empty = StepCase {
        shape: [1, 2, 0],
        logits: vec![],
        ..case()
    };
    assert_eq!(refused(empty, Rules::new(2, 0)), "V");
}
