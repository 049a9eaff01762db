//! A call's buffers on a machine, and the launches over them.

use super::expression::{Expression, Scope, Value};
use super::manifest;
use crate::lane::limits::Limits;
use crate::submission::manifest::{Argument, Kernel, Scalar, Variant};
use crate::submission::{
    Answer, Call, Counted, CountedLaunch, Failure, Finding, Named, Value as Parameter,
};
use crate::tensor::Tensor;
use simt::diagnostics::Blame;
use simt::{
    Arg, FaultKind, Launch, LaunchError, Machine, MemoryError, Options, Report, Rights, Validated,
};
use std::collections::BTreeMap;
use std::time::Instant;

/// A call on a machine of its own.
pub(super) struct Bench<'a> {
    call: &'a Call,
    machine: Machine,
    addresses: BTreeMap<String, u64>,
    /// A seed, and whether it explores.
    pub(super) schedule: (u64, bool),
    steps: u64,
    counted: Counted,
    launches: Vec<CountedLaunch>,
    findings: Vec<Finding>,
    started: Instant,
}

impl<'a> Bench<'a> {
    /// Puts inputs, read-only, outputs, poisoned, and scratch buffers on a new machine.
    pub(super) fn new(
        call: &'a Call,
        variant: &Variant,
        scope: &Scope,
        limits: &Limits,
    ) -> Result<Bench<'a>, Failure> {
        let mut machine = Machine::new(limits.memory());
        let mut addresses = BTreeMap::new();
        let mut workspace = 0_u64;
        let mut read_only = |machine: &mut Machine, name: &str, bytes: &[u8]| {
            let at = machine.allocate_from(bytes, name).map_err(memory)?;
            machine.set_rights(at, Rights::ReadOnly).map_err(ours)?;
            addresses.insert(name.to_owned(), at);
            Ok(())
        };
        for Named { name, tensor } in &call.inputs {
            read_only(&mut machine, name, tensor.bytes())?;
        }
        // A list is handed over as a buffer of i32.
        for (name, value) in &call.parameters {
            if let Parameter::Ints(list) = value {
                let bytes: Vec<u8> = list
                    .iter()
                    .flat_map(|v| (*v as i32).to_le_bytes())
                    .collect();
                read_only(&mut machine, name, &bytes)?;
            }
        }
        for output in &call.outputs {
            let bytes = output.bytes() as u64;
            let at = machine.allocate(bytes, &output.name).map_err(memory)?;
            machine.poison(at, bytes).map_err(ours)?;
            addresses.insert(output.name.clone(), at);
        }
        for scratch in &variant.scratch {
            let bytes = scratch
                .bytes
                .size(scope)
                .map_err(|error| manifest(&error))?;
            let at = machine.allocate(bytes, &scratch.name).map_err(memory)?;
            machine.poison(at, bytes).map_err(ours)?;
            if addresses.insert(scratch.name.clone(), at).is_some() {
                return Err(Failure::Malformed(format!(
                    "in submission.toml: the scratch buffer `{}` has the name of a tensor of the \
                     contract",
                    scratch.name
                )));
            }
            workspace = workspace.saturating_add(bytes);
        }
        Ok(Bench {
            call,
            machine,
            addresses,
            steps: limits.steps,
            schedule: call.schedule(),
            counted: Counted {
                workspace,
                ..Counted::default()
            },
            launches: Vec::new(),
            findings: Vec::new(),
            started: Instant::now(),
        })
    }

    /// Runs a kernel to its end.
    pub(super) fn launch(
        &mut self,
        kernel: &Kernel,
        module: &Validated,
        scope: &Scope,
    ) -> Result<(), Failure> {
        let loaded = self.machine.load(module).map_err(memory)?;
        let mut args = Vec::new();
        for argument in &kernel.args {
            args.push(self.argument(argument, scope)?);
        }
        let launch = Launch {
            grid: extent(&kernel.grid, scope)?,
            block: extent(&kernel.block, scope)?,
            dynamic_shared: number(&kernel.shared, scope)?,
            ..Launch::new(&kernel.entry, &args)
        };
        let (seed, explore) = self.schedule;
        let options = Options {
            seed,
            explore,
            max_steps: self.steps,
            counters: true,
            ..Options::default()
        };
        let report = self
            .machine
            .launch(&loaded, &launch, &options)
            .map_err(|error| failure(error, kernel))?;
        self.steps = self.steps.saturating_sub(report.steps);
        self.note(report, launch.dynamic_shared);
        Ok(())
    }

    fn note(&mut self, report: Report, shared: u32) {
        let findings = report.findings.iter().filter(|finding| !finding.benign);
        self.findings.extend(findings.map(|finding| Finding {
            kind: finding.checker.name().to_owned(),
            text: finding.to_string(),
        }));
        let Some(counters) = report.counters else {
            return;
        };
        let counted = &mut self.counted;
        counted.bytes_moved += counters.total.moved_bytes();
        counted.bytes_requested += counters.total.global.total().bytes;
        counted.bytes_distinct += counters.compulsory.read + counters.compulsory.written;
        counted.flops += counters.total.all_flops();
        self.launches.push(CountedLaunch { counters, shared });
    }

    fn argument(&self, argument: &Argument, scope: &Scope) -> Result<Arg, Failure> {
        match argument {
            Argument::Buffer { name, optional } => match self.addresses.get(name) {
                Some(at) => Ok(Arg::Pointer(*at)),
                None if *optional => Ok(Arg::Pointer(0)),
                None => Err(Failure::Malformed(format!(
                    "in submission.toml: the call has no `{name}`; it has {}. One that may be \
                     absent is written `{name}?`",
                    self.addresses
                        .keys()
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(", ")
                ))),
            },
            Argument::Null => Ok(Arg::Pointer(0)),
            Argument::Scalar(scalar, expression) => scalar_argument(*scalar, expression, scope),
        }
    }

    /// The outputs, and whether all of each was written.
    pub(super) fn answer(self) -> Result<Answer, Failure> {
        let elapsed = self.started.elapsed();
        let mut answer = Answer {
            findings: self.findings,
            counted: Some(self.counted),
            launches: self.launches,
            elapsed,
            ..Answer::default()
        };
        for output in &self.call.outputs {
            let Some(at) = self.addresses.get(&output.name) else {
                continue;
            };
            let mut bytes = vec![0; output.bytes()];
            self.machine.read(*at, &mut bytes).map_err(ours)?;
            let length = bytes.len() as u64;
            if self.machine.unwritten(*at, length).map_err(ours)? > 0 {
                answer.unwritten.push(output.name.clone());
            }
            let tensor = Tensor::new(output.dtype, output.shape.clone(), bytes)
                .map_err(|error| Failure::Grader(error.to_string()))?;
            answer.outputs.push(Named {
                name: output.name.clone(),
                tensor,
            });
        }
        Ok(answer)
    }
}

fn extent(expressions: &[Expression; 3], scope: &Scope) -> Result<[u32; 3], Failure> {
    let [x, y, z] = expressions;
    Ok([number(x, scope)?, number(y, scope)?, number(z, scope)?])
}

fn number(expression: &Expression, scope: &Scope) -> Result<u32, Failure> {
    let size = expression.size(scope).map_err(|error| manifest(&error))?;
    u32::try_from(size).map_err(|_| {
        Failure::Malformed(format!(
            "in submission.toml: `{expression}` is {size}, beyond 32 bits"
        ))
    })
}

fn scalar_argument(scalar: Scalar, expression: &Expression, scope: &Scope) -> Result<Arg, Failure> {
    let value = expression.value(scope).map_err(|error| manifest(&error))?;
    let whole = match value {
        Value::Int(number) => Some(number),
        Value::Bool(value) => Some(value.into()),
        _ => None,
    };
    let real = match value {
        Value::Float(number) => Some(number),
        _ => whole.map(|number| number as f64),
    };
    let arg = match scalar {
        Scalar::I32 => whole.and_then(|n| i32::try_from(n).ok()).map(Arg::I32),
        Scalar::U32 => whole.and_then(|n| u32::try_from(n).ok()).map(Arg::U32),
        Scalar::I64 => whole.map(Arg::I64),
        Scalar::U64 => whole.and_then(|n| u64::try_from(n).ok()).map(Arg::U64),
        Scalar::F32 => real.map(|n| Arg::F32(n as f32)),
        Scalar::F64 => real.map(Arg::F64),
    };
    arg.ok_or_else(|| {
        Failure::Malformed(format!(
            "in submission.toml: `{expression}` is not a value of the type {scalar} in this call"
        ))
    })
}

/// More memory than the limit.
fn memory(error: MemoryError) -> Failure {
    match error {
        MemoryError::OutOfMemory { .. } => Failure::Limit(error.to_string()),
        MemoryError::NotAllocated { .. } => ours(error),
    }
}

fn ours(error: MemoryError) -> Failure {
    Failure::Grader(error.to_string())
}

/// Whose fault it is that a launch did not run to its end.
fn failure(error: LaunchError, kernel: &Kernel) -> Failure {
    match error {
        LaunchError::Fault(fault) => {
            let text = fault.to_string();
            match (&fault.kind, fault.blame()) {
                (FaultKind::ReadOnly { name, .. }, _) => {
                    Failure::Cheat(format!("it overwrites the input `{name}`: {text}"))
                }
                (FaultKind::Steps { .. }, _) => Failure::Timeout(text),
                (_, Blame::Program) => Failure::Fault(text),
                (_, Blame::Unsupported) => Failure::Unsupported(text),
                (_, Blame::Limit) => Failure::Limit(text),
                (_, Blame::Bug) => Failure::Grader(text),
            }
        }
        LaunchError::Unsupported(what) => Failure::Unsupported(what.to_string()),
        LaunchError::Limit(what) => Failure::Limit(what),
        // A driver refuses these, and the program ends without an answer.
        LaunchError::Invalid(what) => {
            Failure::Crash(format!("`{}` cannot be launched: {what}", kernel.entry))
        }
        error @ LaunchError::NoEntry { .. } => Failure::Malformed(error.to_string()),
    }
}
