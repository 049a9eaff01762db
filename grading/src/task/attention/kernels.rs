//! Shapes and options in the words of our kernels' host API.

use super::Problem;
use crate::builtin::{Job, failure};
use crate::submission::Failure;
use kernels_host::attention::{Layout, Options, Sequences, Shape, Window};

/// What a launch of an attention kernel takes beside its tensors.
pub(in crate::task) struct Setup {
    problem: Problem,
    starts: Option<(Sequences, Sequences)>,
}

impl Setup {
    /// For a problem, on the job's device.
    pub(in crate::task) fn new(problem: Problem, job: &Job<'_>) -> Result<Setup, Failure> {
        let shape = &problem.shape;
        let on_device = |bounds: Vec<i32>| Sequences::new(job.device(), &bounds).map_err(failure);
        let starts = match shape.packed {
            false => None,
            true => Some((
                on_device(shape.bounds(|l| l.0))?,
                on_device(shape.bounds(|l| l.1))?,
            )),
        };
        Ok(Setup { problem, starts })
    }

    /// The shape.
    pub(in crate::task) fn shape(&self) -> Shape<'_> {
        let shape = &self.problem.shape;
        let layout = match &self.starts {
            Some((queries, keys)) => Layout::Packed { queries, keys },
            None => Layout::Dense {
                batch: shape.lengths.len(),
                queries: shape.lengths[0].0,
                keys: shape.lengths[0].1,
            },
        };
        Shape {
            layout,
            query_heads: shape.query_heads,
            kv_heads: shape.kv_heads,
            head_size: shape.head_size,
        }
    }

    /// The options.
    pub(in crate::task) fn options(&self) -> Options {
        let options = &self.problem.options;
        Options {
            scale: options.scale,
            causal: options.causal,
            window: options.window.map(|window| Window {
                left: window.left,
                right: window.right,
            }),
            softcap: options.softcap,
        }
    }
}
