//! The syntax tree of a module. Names are owned; every node knows where it stands.

use super::source::{Source, Span};
use super::types::{ScalarType, Space};
use smol_str::SmolStr;

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name as written.
    pub text: SmolStr,
    /// Where.
    pub span: Span,
}

/// A parsed module.
#[derive(Clone, Debug)]
pub struct Module {
    /// The text it was parsed from.
    pub source: Source,
    /// `.version`, major and minor.
    pub version: (u32, u32),
    /// The architecture of `.target`, as `90` for `sm_90a`.
    pub target: u32,
    /// `.target` as written, without the dot.
    pub target_text: SmolStr,
    /// `.file` directives: index and path.
    pub files: Vec<(u32, String)>,
    /// Variables at module scope.
    pub variables: Vec<Variable>,
    /// Functions and entries, declarations included.
    pub functions: Vec<Function>,
}

impl Module {
    /// The kernels that can be launched.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let bodies = self
            .functions
            .iter()
            .filter(|f| f.is_entry && f.body.is_some());
        bodies.map(|function| Entry { function })
    }

    /// The kernel called `name`.
    pub fn entry(&self, name: &str) -> Option<Entry<'_>> {
        self.entries().find(|e| e.name() == name)
    }
}

/// A kernel: what a launch needs to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'m> {
    function: &'m Function,
}

impl<'m> Entry<'m> {
    /// Its name.
    pub fn name(&self) -> &'m str {
        &self.function.name.text
    }

    /// Its parameters, in order.
    pub fn params(&self) -> &'m [Param] {
        &self.function.params
    }

    /// Launch bounds written in the text.
    pub fn bounds(&self) -> &'m LaunchBounds {
        &self.function.bounds
    }
}

/// A parameter of an entry or function.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Name,
    /// Its type, or that of its elements.
    pub ty: ScalarType,
    /// Number of elements when it is an array.
    pub array: Option<u64>,
    /// Alignment in bytes.
    pub align: u32,
    /// Whether it is a register parameter (`.reg`) of a function.
    pub in_register: bool,
}

impl Param {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.array
            .unwrap_or(1)
            .saturating_mul(u64::from(self.ty.bytes()))
    }
}

/// Performance directives of an entry; zero means "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchBounds {
    /// `.maxntid`.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// `.reqnctapercluster`.
    pub required_cluster: Option<[u32; 3]>,
}

/// An entry or a device function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: Name,
    /// Whether it is an `.entry`.
    pub is_entry: bool,
    /// Return parameters of a `.func`.
    pub returns: Vec<Param>,
    /// Parameters.
    pub params: Vec<Param>,
    /// Performance directives.
    pub bounds: LaunchBounds,
    /// The body; a declaration has none.
    pub body: Option<Vec<Statement>>,
}

/// A variable in a memory space.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: Name,
    /// Where it lives.
    pub space: Space,
    /// Type of its elements.
    pub ty: ScalarType,
    /// Number of elements of a vector type (1, 2 or 4).
    pub vector: u32,
    /// Number of elements; 0 for `[]`.
    pub count: u64,
    /// Alignment in bytes.
    pub align: u32,
    /// Whether it is `.extern`.
    pub external: bool,
    /// Initial values; shorter than the array means zeros follow.
    pub init: Vec<Initialiser>,
}

impl Variable {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.count
            .saturating_mul(u64::from(self.ty.bytes() * self.vector))
    }
}

/// One element of an initialiser.
#[derive(Clone, Debug, PartialEq)]
pub enum Initialiser {
    /// Bits of a number.
    Number(Number),
    /// Address of a symbol, in its own space or (`generic(x)`) in the generic one.
    Address {
        /// The symbol.
        symbol: Name,
        /// Bytes added.
        offset: i64,
        /// Whether the generic address is meant.
        generic: bool,
        /// Right shift and mask: `0xFF00(x)` takes one byte of the address.
        mask: Option<u64>,
    },
}

/// A literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Integer, two's complement.
    Integer(i128),
    /// Decimal or `0d` floating point.
    Double(f64),
    /// `0f`: the bits of a single.
    Single(u32),
}

/// What the elements of a vector register are called.
pub(crate) const ELEMENTS: [&str; 4] = ["x", "y", "z", "w"];

/// A statement of a body.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `.reg .b32 %r<5>;`, `.reg .pred p, q;` or `.reg .v4 .f32 v;`
    Registers {
        /// Type.
        ty: ScalarType,
        /// Elements of each: 1, 2 or 4. Those of a vector `v` are the registers `v.x`, `v.y`, …;
        /// operands name these, and never `v`.
        vector: u32,
        /// Names; with a count they are `name0 … name(count−1)`.
        names: Vec<(Name, Option<u32>)>,
    },
    /// A variable.
    Variable(Variable),
    /// `name:`
    Label(Name),
    /// An instruction.
    Instruction(Instruction),
    /// `{ … }`
    Block(Vec<Statement>),
    /// `.loc file line column`
    Location {
        /// Index of the `.file`.
        file: u32,
        /// Line.
        line: u32,
        /// Column.
        column: u32,
    },
    /// `name: .branchtargets a, b;` or `.calltargets`
    Targets {
        /// Name of the list.
        name: Name,
        /// Labels or functions.
        targets: Vec<Name>,
    },
    /// `name: .callprototype …;`
    Prototype(Name),
}

/// `@p` or `@!p`.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// The predicate.
    pub predicate: Name,
    /// Whether it must be false.
    pub negated: bool,
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Predicate.
    pub guard: Option<Guard>,
    /// First word.
    pub opcode: Name,
    /// Modifiers, each with its dot.
    pub modifiers: Vec<Name>,
    /// Operands.
    pub operands: Vec<Operand>,
    /// The whole instruction.
    pub span: Span,
}

impl Instruction {
    /// Opcode and modifiers as written.
    pub fn mnemonic(&self) -> String {
        let mut text = self.opcode.text.to_string();
        self.modifiers.iter().for_each(|m| text.push_str(&m.text));
        text
    }
}

/// An operand.
#[derive(Clone, Debug)]
pub struct Operand {
    /// What it is.
    pub kind: OperandKind,
    /// Where it stands.
    pub span: Span,
}

/// What an operand is.
#[derive(Clone, Debug)]
pub enum OperandKind {
    /// A register, variable, label or special register (`%tid.x`).
    Name(SmolStr),
    /// `!p`
    Not(SmolStr),
    /// A literal.
    Number(Number),
    /// `symbol+4`
    Offset(SmolStr, i64),
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `[base+4]`; with more than one part, a tensor coordinate: `[a, {x, y}]`.
    Address(Vec<Operand>),
    /// `d|p`
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)`
    List(Vec<Operand>),
    /// `_`
    Sink,
}
