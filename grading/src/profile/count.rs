//! A call run once on the PTX machine, counted and judged.

use super::assembled::{Assembled, Assembler, builtin_text};
use super::figures::Bound;
use super::judge::{Judgement, judge};
use super::ready::{ready, rungs};
use super::shape::Scale;
use super::{Figures, ProfileError, Shape, call};
use crate::submission::{Call, CountedLaunch, Failure, Submission};
use crate::task;
use kernels_host::{Device, Vm};
use serde::Serialize;
use simt::Counters;
use simt::count::roofline::Gpu;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Device memory of the machine.
const MEMORY: u64 = 4 << 30;

/// A task's kernels at a shape.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The version of this format.
    pub schema: u32,
    /// The task.
    pub task: String,
    /// The operation.
    pub op: String,
    /// The shape's name.
    pub shape: String,
    /// Type and sizes.
    pub sizes: String,
    /// The GPU whose roof is meant.
    pub gpu: &'static str,
    /// Who was counted: `builtin`, or the submission's name.
    pub by: String,
    /// Each rung; a submission has one.
    pub rungs: Vec<RungProfile>,
}

/// A rung at a shape.
#[derive(Clone, Debug, Serialize)]
pub struct RungProfile {
    /// The rung.
    pub rung: String,
    /// All its launches together.
    pub counted: Figures,
    /// The least time on that GPU.
    pub bound: Bound,
    /// Its kernels as ptxas assembles them; empty where there is none.
    pub assembled: Vec<Assembled>,
    /// What the oracle says of what it wrote.
    pub judged: Judgement,
    /// Each launch, line by line.
    pub launches: Vec<Counters>,
}

/// The machine that counts.
pub fn machine() -> Arc<Vm> {
    let options = simt::Options {
        counters: true,
        ..simt::Options::default()
    };
    Vm::with_options(MEMORY, options)
}

/// The rungs of ours that take the shape, or the one that is named.
///
/// # Errors
/// When the sizes do not fit, or a launch fails.
pub fn builtin(
    shape: &Shape,
    rung: Option<&str>,
    gpu: &'static Gpu,
    assembler: &mut Assembler,
) -> Result<Profile, ProfileError> {
    let vm = machine();
    let device: Arc<dyn Device> = vm.clone();
    let call = call::of(shape, Scale::Vm, &device)?;
    let names = match rung {
        Some(rung) => vec![rung],
        None => rungs(&call),
    };
    let mut profiles = Vec::new();
    for name in names {
        let mut ready = ready(&call, name, &device)?;
        vm.take_launches();
        ready.run()?;
        let launched = vm.take_launches().into_iter();
        let launches = launched.filter_map(|launched| {
            Some(CountedLaunch {
                counters: launched.report.counters?,
                shared: launched.config.shared,
            })
        });
        let text = |kernel: &str| builtin_text(kernel, &*device);
        let outputs = ready.outputs()?;
        let known = rungs(&call);
        let name = known.iter().find(|known| known.eq_ignore_ascii_case(name));
        profiles.push(RungProfile::of(
            name.copied().unwrap_or_default(),
            launches.collect(),
            judge(&call, &outputs)?,
            &call,
            gpu,
            (assembler, &text),
        ));
    }
    Ok(Profile::of(shape, &call, gpu, "builtin", profiles))
}

/// Somebody's kernels on the same call.
///
/// # Errors
/// When there is no answer, or the lane is one that the machine does not count.
pub fn submission(
    shape: &Shape,
    submission: &mut dyn Submission,
    texts: &BTreeMap<String, String>,
    gpu: &'static Gpu,
    assembler: &mut Assembler,
) -> Result<Profile, ProfileError> {
    let device: Arc<dyn Device> = machine();
    let call = call::of(shape, Scale::Vm, &device)?;
    let name = submission.name();
    submission.usual_schedule();
    let answer = submission.call(&call)?;
    if let Some(finding) = answer.findings.first() {
        let said = format!("{}: {}", finding.kind, finding.text);
        return Err(Failure::Fault(said).into());
    }
    if answer.launches.is_empty() {
        let why = format!(
            "{name} launched nothing that the PTX machine can count: only submissions of PTX and \
             our own kernels have a profile"
        );
        return Err(Failure::Unsupported(why).into());
    }
    let text = |kernel: &str| texts.get(kernel).cloned();
    let judged = judge(&call, &answer.outputs)?;
    let launches = answer.launches;
    let rung = RungProfile::of(&name, launches, judged, &call, gpu, (assembler, &text));
    Ok(Profile::of(shape, &call, gpu, &name, vec![rung]))
}

type Texts<'a> = (&'a mut Assembler, &'a dyn Fn(&str) -> Option<String>);

impl RungProfile {
    fn of(
        rung: &str,
        launches: Vec<CountedLaunch>,
        judged: Judgement,
        call: &Call,
        gpu: &Gpu,
        (assembler, text): Texts<'_>,
    ) -> RungProfile {
        let mut assembled: Vec<Assembled> = Vec::new();
        for launch in &launches {
            let kernel = &launch.counters.kernel;
            if assembled.iter().any(|known| known.kernel == *kernel) {
                continue;
            }
            let text = text(kernel);
            assembled.extend(text.and_then(|text| assembler.kernel(&text, launch, gpu)));
        }
        let counters = launches.into_iter().map(|launch| launch.counters);
        let counters: Vec<Counters> = counters.collect();
        let compulsory = match task::named(call.task) {
            Some(task) => (task.cost)(call).bytes,
            None => call.compulsory_bytes(),
        };
        let counted = Figures::of(compulsory, counters.clone());
        RungProfile {
            rung: rung.to_owned(),
            bound: counted.bound(gpu),
            counted,
            assembled,
            judged,
            launches: counters,
        }
    }

    /// The kernel of the most instructions, as ptxas assembles it.
    pub fn main_kernel(&self) -> Option<&Assembled> {
        let most = self
            .launches
            .iter()
            .max_by_key(|l| l.total.warp_instructions)?;
        self.assembled.iter().find(|a| a.kernel == most.kernel)
    }
}

impl Profile {
    fn of(
        shape: &Shape,
        call: &Call,
        gpu: &'static Gpu,
        by: &str,
        rungs: Vec<RungProfile>,
    ) -> Profile {
        Profile {
            schema: 1,
            task: call.task.to_owned(),
            op: call.op.to_owned(),
            shape: shape.name.clone(),
            sizes: shape.text(Scale::Vm),
            gpu: gpu.name,
            by: by.to_owned(),
            rungs,
        }
    }
}
