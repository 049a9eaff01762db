//! The `ptx` lane's part of a manifest: which kernels with which arguments answer a call.

use super::error::{Blame, ManifestError, ManifestErrorKind};
use super::{raw, task_name};
use crate::lane::ptx::expression::Expression;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;

/// One way to answer the calls of an operation, for the calls that its condition holds for.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The task.
    pub task: String,
    /// The operation.
    pub op: String,
    /// For which calls; always, if there is none.
    pub when: Option<Expression>,
    /// Names for the expressions that follow, in order.
    pub defines: Vec<(String, Expression)>,
    /// Buffers beside inputs and outputs.
    pub scratch: Vec<Scratch>,
    /// The kernels, in the order in which they run.
    pub kernels: Vec<Kernel>,
}

/// A buffer that kernels share.
#[derive(Clone, Debug, PartialEq)]
pub struct Scratch {
    /// Its name in `args`.
    pub name: String,
    /// Its bytes.
    pub bytes: Expression,
}

/// A launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// The PTX file.
    pub file: PathBuf,
    /// The entry in it.
    pub entry: String,
    /// Blocks.
    pub grid: [Expression; 3],
    /// Threads of a block.
    pub block: [Expression; 3],
    /// Bytes of dynamic shared memory.
    pub shared: Expression,
    /// In the order of the entry's parameters.
    pub args: Vec<Argument>,
    /// For which calls it runs; always, if there is none.
    pub when: Option<Expression>,
}

/// An argument of a launch.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// `logits`, or `mask?` which is null when the call does not have it.
    Buffer {
        /// An input, an output or a scratch buffer.
        name: String,
        /// Whether it may be absent.
        optional: bool,
    },
    /// `i32: V * 4`.
    Scalar(Scalar, Expression),
    /// `null`: a pointer to nothing.
    Null,
}

/// The type of a scalar argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the types speak for themselves")]
pub enum Scalar {
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Scalar {
    const ALL: [(&'static str, Scalar); 6] = [
        ("i32", Scalar::I32),
        ("u32", Scalar::U32),
        ("i64", Scalar::I64),
        ("u64", Scalar::U64),
        ("f32", Scalar::F32),
        ("f64", Scalar::F64),
    ];
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Scalar::ALL.iter().find(|(_, scalar)| scalar == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for Argument {
    type Err = ManifestErrorKind;

    fn from_str(text: &str) -> Result<Argument, ManifestErrorKind> {
        if let Some((ty, expression)) = text.split_once(':') {
            let found = Scalar::ALL.iter().find(|(name, _)| *name == ty.trim());
            let Some((_, scalar)) = found else {
                let known: Vec<&str> = Scalar::ALL.iter().map(|(name, _)| *name).collect();
                return Err(super::unknown("type of argument", ty.trim(), &known));
            };
            return Ok(Argument::Scalar(*scalar, Expression::parse(expression)?));
        }
        if text == "null" {
            return Ok(Argument::Null);
        }
        let (name, optional) = match text.strip_suffix('?') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) {
            return Err(ManifestErrorKind::Value(format!(
                "`{text}` is no argument; write the name of a tensor or scratch buffer, with `?` \
                 if it may be absent, null, or a type and an expression: \"i32: V\""
            )));
        }
        Ok(Argument::Buffer {
            name: name.to_owned(),
            optional,
        })
    }
}

pub(super) fn variants(
    blame: &Blame<'_>,
    tasks: &[Spanned<raw::Task>],
    folder: &Path,
) -> Result<Vec<Variant>, ManifestError> {
    let mut variants = Vec::new();
    for (t, spanned) in tasks.iter().enumerate() {
        let task = spanned.get_ref();
        let name = task_name(blame, t, task)?;
        let lane = |span, key: &str, text: &str| {
            let key = format!("task[{t}].{key}");
            Err(blame.at(span, key, ManifestErrorKind::Lane(text.into())))
        };
        if let Some(command) = &task.command {
            let text = "the ptx lane runs no programs; `command` belongs to `lane = \"process\"`";
            return lane(command.span(), "command", text);
        }
        if let Some(op) = task.ops.first() {
            let text = "the ptx lane has the operations that its variants name; leave `ops` out";
            return lane(op.span(), "ops", text);
        }
        if task.variant.is_empty() {
            let text = "the ptx lane needs a [[task.variant]] with its kernels";
            return lane(spanned.span(), "variant", text);
        }
        for (v, spanned) in task.variant.iter().enumerate() {
            let at = At {
                blame,
                key: format!("task[{t}].variant[{v}]"),
            };
            variants.push(at.variant(name, spanned, folder)?);
        }
    }
    Ok(variants)
}

/// A place in the tree of keys.
struct At<'a> {
    blame: &'a Blame<'a>,
    key: String,
}

impl At<'_> {
    fn error(
        &self,
        span: Range<usize>,
        key: &str,
        kind: impl Into<ManifestErrorKind>,
    ) -> ManifestError {
        self.blame.at(span, format!("{}.{key}", self.key), kind)
    }

    fn expression(
        &self,
        span: Range<usize>,
        key: &str,
        text: &str,
    ) -> Result<Expression, ManifestError> {
        Expression::parse(text).map_err(|error| self.error(span, key, error))
    }

    fn condition(
        &self,
        text: Option<&Spanned<String>>,
    ) -> Result<Option<Expression>, ManifestError> {
        text.map(|text| self.expression(text.span(), "when", text.get_ref()))
            .transpose()
    }

    fn variant(
        &self,
        task: &str,
        spanned: &Spanned<raw::Variant>,
        folder: &Path,
    ) -> Result<Variant, ManifestError> {
        let raw = spanned.get_ref();
        let mut defines = Vec::new();
        for define in &raw.define {
            let define = define.get_ref();
            let (name, value) = (define.name.get_ref(), &define.value);
            let value = self.expression(value.span(), "define", &value.get_ref().text())?;
            defines.push((name.clone(), value));
        }
        let mut scratch = Vec::new();
        for (name, bytes) in &raw.scratch {
            let key = format!("scratch.{name}");
            scratch.push(Scratch {
                name: name.clone(),
                bytes: self.expression(bytes.span(), &key, &bytes.get_ref().text())?,
            });
        }
        if raw.kernel.is_empty() {
            let kind = ManifestErrorKind::Lane("a variant needs a [[task.variant.kernel]]".into());
            return Err(self.error(spanned.span(), "kernel", kind));
        }
        let mut kernels = Vec::new();
        for (k, kernel) in raw.kernel.iter().enumerate() {
            let at = At {
                blame: self.blame,
                key: format!("{}.kernel[{k}]", self.key),
            };
            kernels.push(at.kernel(kernel.get_ref(), folder)?);
        }
        Ok(Variant {
            task: task.to_owned(),
            op: raw.op.as_ref().map_or(task, |op| op.get_ref()).to_owned(),
            when: self.condition(raw.when.as_ref())?,
            defines,
            scratch,
            kernels,
        })
    }

    fn kernel(&self, raw: &raw::Kernel, folder: &Path) -> Result<Kernel, ManifestError> {
        let file = folder.join(raw.file.get_ref());
        if let Err(error) = std::fs::File::open(&file) {
            let kind = ManifestErrorKind::File {
                file: PathBuf::from(raw.file.get_ref()),
                why: error.to_string(),
            };
            return Err(self.error(raw.file.span(), "file", kind));
        }
        let mut args = Vec::new();
        for argument in &raw.args {
            let parsed = argument.get_ref().parse();
            args.push(
                parsed
                    .map_err(|kind: ManifestErrorKind| self.error(argument.span(), "args", kind))?,
            );
        }
        let shared = match &raw.shared {
            Some(bytes) => self.expression(bytes.span(), "shared", &bytes.get_ref().text())?,
            None => self.expression(0..0, "shared", "0")?,
        };
        Ok(Kernel {
            file,
            entry: raw.entry.get_ref().clone(),
            grid: self.extent("grid", &raw.grid)?,
            block: self.extent("block", &raw.block)?,
            shared,
            args,
            when: self.condition(raw.when.as_ref())?,
        })
    }

    /// One to three expressions; what is left out is 1.
    fn extent(
        &self,
        key: &str,
        raw: &Spanned<Vec<raw::Scalar>>,
    ) -> Result<[Expression; 3], ManifestError> {
        let given = raw.get_ref();
        if given.is_empty() || given.len() > 3 {
            let kind = ManifestErrorKind::Value(format!(
                "{} numbers; write one to three: {key} = [\"ceil_div(V, 128)\", \"R\"]",
                given.len()
            ));
            return Err(self.error(raw.span(), key, kind));
        }
        let one = |i: usize| {
            let text = given
                .get(i)
                .map_or_else(|| "1".to_owned(), raw::Scalar::text);
            self.expression(raw.span(), key, &text)
        };
        Ok([one(0)?, one(1)?, one(2)?])
    }
}
