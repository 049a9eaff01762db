//! The `ptx` lane: PTX text, and a manifest that says how it is launched.
//!
//! The grader owns allocation and launch. Every call gets a machine of its own: nothing that a
//! kernel leaves behind reaches the next call, and the same addresses come back with other contents.

pub mod expression;
mod launch;

use crate::lane::limits::Limits;
use crate::submission::manifest::Variant;
use crate::submission::{Answer, Call, Failure, Submission};
use expression::{ExpressionError, Scope};
use simt::Validated;
use simt::diagnostics::Blame;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A submission of PTX files.
#[derive(Debug)]
pub struct PtxLane {
    name: String,
    variants: Vec<Variant>,
    limits: Limits,
    usual_schedule: bool,
    modules: BTreeMap<PathBuf, Result<Validated, Failure>>,
}

impl PtxLane {
    /// PTX files, read when they are first asked for.
    pub fn new(name: impl Into<String>, variants: Vec<Variant>, limits: Limits) -> PtxLane {
        PtxLane {
            name: name.into(),
            variants,
            limits,
            usual_schedule: false,
            modules: BTreeMap::new(),
        }
    }

    /// The first variant that has the operation and fits the call.
    fn variant(&self, call: &Call, scope: &Scope) -> Result<&Variant, Failure> {
        let mut tried = Vec::new();
        for variant in &self.variants {
            if variant.task != call.task || variant.op != call.op {
                continue;
            }
            let Some(when) = &variant.when else {
                return Ok(variant);
            };
            if when.holds(scope).map_err(|error| manifest(&error))? {
                return Ok(variant);
            }
            tried.push(when.text());
        }
        Err(Failure::Unsupported(if tried.is_empty() {
            format!("no variant for `{}` of `{}`", call.op, call.task)
        } else {
            format!("no variant fits this call: {}", tried.join("; "))
        }))
    }

    fn module(&mut self, file: &Path) -> Result<Validated, Failure> {
        let known = self.modules.entry(file.to_owned());
        known.or_insert_with(|| read(file)).clone()
    }
}

fn read(file: &Path) -> Result<Validated, Failure> {
    let shown = file.file_name().unwrap_or_default().to_string_lossy();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Malformed(format!("{shown}: {error}")))?;
    simt::compile(&text).map_err(|diagnostics| {
        let said = format!("{shown}: {diagnostics}");
        match diagnostics.blame() {
            Blame::Program => Failure::Malformed(said),
            Blame::Unsupported => Failure::Unsupported(said),
            Blame::Limit => Failure::Limit(said),
            Blame::Bug => Failure::Grader(said),
        }
    })
}

/// An expression that has no value for a call.
fn manifest(error: &ExpressionError) -> Failure {
    Failure::Malformed(format!("in submission.toml: {error}"))
}

impl Submission for PtxLane {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn supports(&self, task: &str, op: &str) -> bool {
        let has = |variant: &Variant| variant.task == task && variant.op == op;
        self.variants.iter().any(has)
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        let mut scope = Scope::of(call);
        let variant = self.variant(call, &scope)?.clone();
        for (name, value) in &variant.defines {
            let value = value.value(&scope).map_err(|error| manifest(&error))?;
            scope.define(name, value);
        }
        let mut launches = Vec::new();
        for kernel in &variant.kernels {
            let runs = match &kernel.when {
                Some(when) => when.holds(&scope).map_err(|error| manifest(&error))?,
                None => true,
            };
            if runs {
                launches.push((kernel, self.module(&kernel.file)?));
            }
        }
        let mut bench = launch::Bench::new(call, &variant, &scope, &self.limits)?;
        if self.usual_schedule {
            bench.schedule = (0, false);
        }
        for (kernel, module) in launches {
            bench.launch(kernel, &module, &scope)?;
        }
        bench.answer()
    }

    fn usual_schedule(&mut self) {
        self.usual_schedule = true;
    }
}
