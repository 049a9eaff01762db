//! The one error type: what was wrong with the input, and with which argument.

/// Why an oracle refuses its input. Every variant names the argument at fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data does not have as many elements as its shape says.
    #[error("`{argument}` has {got} elements, but its shape {shape:?} needs {expected}")]
    Length {
        /// Name of the argument.
        argument: &'static str,
        /// The shape it was given with.
        shape: Vec<usize>,
        /// Elements the shape asks for.
        expected: usize,
        /// Elements it has.
        got: usize,
    },
    /// The shape of one argument does not fit the others.
    #[error("`{argument}` has shape {got:?}, expected {expected:?} ({because})")]
    Shape {
        /// Name of the argument.
        argument: &'static str,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        got: Vec<usize>,
        /// Where the expectation comes from, e.g. "as `x`".
        because: &'static str,
    },
    /// The product of a shape's sizes does not fit in memory's address range.
    #[error("`{argument}`: shape {shape:?} has more elements than can be addressed")]
    TooLarge {
        /// Name of the argument.
        argument: &'static str,
        /// The shape it was given with.
        shape: Vec<usize>,
    },
    /// A size that must be at least one is zero.
    #[error("`{argument}` is zero; it must be at least 1")]
    Zero {
        /// Name of the argument or size.
        argument: &'static str,
    },
    /// A scalar argument is outside what the operation is defined for.
    #[error("`{argument}` is {got}, must be {allowed}")]
    Argument {
        /// Name of the argument.
        argument: &'static str,
        /// What was given.
        got: String,
        /// What may be given, in words.
        allowed: String,
    },
    /// One element of an argument is outside what the operation is defined for.
    #[error("`{argument}`[{index}] is {got}, must be {allowed}")]
    Entry {
        /// Name of the argument.
        argument: &'static str,
        /// Flat index of the element.
        index: usize,
        /// What was given.
        got: String,
        /// What may be given, in words.
        allowed: String,
    },
    /// A cache has no page left for what was asked. Free sequences, or make the cache larger.
    #[error("out of pages: {asked} asked, {free} of {pages} free")]
    OutOfPages {
        /// Pages that the step needs.
        asked: usize,
        /// Pages that are free.
        free: usize,
        /// Pages there are.
        pages: usize,
    },
}

/// Result of everything in this crate that can be given wrong input.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A scalar `argument` is `got`, which is not `allowed`.
    pub fn argument(
        argument: &'static str,
        got: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Argument {
            argument,
            got: got.to_string(),
            allowed: allowed.into(),
        }
    }

    /// Element `index` of `argument` is `got`, which is not `allowed`.
    pub fn entry(
        argument: &'static str,
        index: usize,
        got: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Entry {
            argument,
            index,
            got: got.to_string(),
            allowed: allowed.into(),
        }
    }

    /// The argument the error is about.
    pub fn about(&self) -> &'static str {
        match self {
            Self::Length { argument, .. }
            | Self::Shape { argument, .. }
            | Self::TooLarge { argument, .. }
            | Self::Zero { argument }
            | Self::Argument { argument, .. }
            | Self::Entry { argument, .. } => argument,
            Self::OutOfPages { .. } => "pages",
        }
    }
}
