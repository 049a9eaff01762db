//! The sizes a check was drawn with: what is shrunk, and what `--dims` replays.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Named sizes: `R=2,V=5`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dims(BTreeMap<String, u64>);

/// Text that names no sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not NAME=NUMBER; sizes are written R=2,V=5")]
pub struct NotDims(String);

impl Dims {
    /// Those sizes.
    pub fn of<const N: usize>(sizes: [(&str, u64); N]) -> Dims {
        Dims(sizes.map(|(name, size)| (name.to_owned(), size)).into())
    }

    /// A size. One that is not named is 1: whoever replays may leave out what does not matter.
    pub fn get(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(1) as usize
    }

    /// The same with another size.
    #[must_use]
    pub fn with(mut self, name: &str, size: u64) -> Dims {
        self.0.insert(name.to_owned(), size);
        self
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, size)| (name.as_str(), *size))
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, size)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={size}")?;
        }
        Ok(())
    }
}

impl FromStr for Dims {
    type Err = NotDims;

    fn from_str(text: &str) -> Result<Dims, NotDims> {
        let mut dims = Dims::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let wrong = || NotDims(part.to_owned());
            let (name, size) = part.split_once('=').ok_or_else(wrong)?;
            let size = size.trim().parse().map_err(|_| wrong())?;
            dims.0.insert(name.trim().to_owned(), size);
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let dims = Dims::of([("V", 5), ("R", 2)]);
        assert_eq!(dims.to_string(), "R=2,V=5");
        assert_eq!("R=2, V=5".parse(), Ok(dims.clone()));
        assert_eq!((dims.get("V"), dims.get("missing")), (5, 1));
        assert_eq!("".parse(), Ok(Dims::default()));
        for wrong in ["R", "R=", "R=x", "R=-1"] {
            assert!(wrong.parse::<Dims>().is_err(), "{wrong}");
        }
    }
}
