//! Where submissions come from: opened afresh for each task, and after a crash.

use crate::builtin::{Builtin, Place};
use crate::submission::{self, OpenOptions, Submission};
use crate::task::{self, Honest, Order, Way};
use std::path::{Path, PathBuf};

/// A submission that can be opened, again and again.
pub trait Source: Send + Sync {
    /// What reports call it.
    fn name(&self) -> String;

    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be: the manifest is wrong, there is no GPU, the sandbox cannot be set up.
    fn open(&self) -> Result<Box<dyn Submission>, OpenError>;
}

/// Why a submission cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not there, or its manifest is wrong.
    #[error("{0}")]
    Manifest(String),
    /// The sandbox that was asked for could not be set up.
    #[error("the sandbox could not be set up: {0}")]
    Sandbox(String),
    /// The device is not there.
    #[error("{0}")]
    Device(String),
}

/// Our own kernels.
pub struct BuiltinSource(pub Place);

impl Source for BuiltinSource {
    fn name(&self) -> String {
        "builtin".into()
    }

    fn open(&self) -> Result<Box<dyn Submission>, OpenError> {
        let builtin = Builtin::new(self.0).map_err(|e| OpenError::Device(e.to_string()))?;
        Ok(Box::new(builtin))
    }
}

/// The plain f32 implementations: right in some order, or with one of the known mistakes.
pub struct HonestSource(pub Way);

impl Source for HonestSource {
    fn name(&self) -> String {
        match self.0.mistake {
            Some(mistake) => format!("mistake:{mistake}"),
            None => format!("plain:{:?}", self.0.order).to_lowercase(),
        }
    }

    fn open(&self) -> Result<Box<dyn Submission>, OpenError> {
        Ok(Box::new(Honest::new(task::all(), self.0)))
    }
}

/// The submission of a manifest.
pub struct ManifestSource {
    path: PathBuf,
    options: OpenOptions,
    name: String,
}

impl ManifestSource {
    /// The manifest of that file or folder; it is read now, and again each time it is opened.
    ///
    /// # Errors
    /// When it is not one, or the sandbox is not what was asked for.
    pub fn new(path: &Path, options: OpenOptions) -> Result<ManifestSource, OpenError> {
        let name = submission::open_with(path, &options)?.name();
        Ok(ManifestSource {
            path: path.to_owned(),
            options,
            name,
        })
    }
}

impl Source for ManifestSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn open(&self) -> Result<Box<dyn Submission>, OpenError> {
        Ok(submission::open_with(&self.path, &self.options)?)
    }
}

impl From<submission::OpenError> for OpenError {
    fn from(error: submission::OpenError) -> OpenError {
        let said = error.to_string();
        match error {
            submission::OpenError::Manifest(_) => OpenError::Manifest(said),
            submission::OpenError::Launcher(_) | submission::OpenError::Sandbox(_) => {
                OpenError::Sandbox(said)
            }
        }
    }
}

/// A submission made by a function, for tests of Rust code.
impl<F> Source for F
where
    F: Fn() -> Box<dyn Submission> + Send + Sync,
{
    fn name(&self) -> String {
        self().name()
    }

    fn open(&self) -> Result<Box<dyn Submission>, OpenError> {
        Ok(self())
    }
}

/// The submission of that name: `builtin`, `plain` (or `plain:ORDER`), `mistake:NAME`.
///
/// # Errors
/// When there is none.
pub fn source(name: &str, place: Place) -> Result<Box<dyn Source>, OpenError> {
    source_with(name, place, OpenOptions::default())
}

/// [`source`], where programs of a manifest are opened as `options` say.
///
/// # Errors
/// When there is none.
pub fn source_with(
    name: &str,
    place: Place,
    options: OpenOptions,
) -> Result<Box<dyn Source>, OpenError> {
    if name == "builtin" {
        return Ok(Box::new(BuiltinSource(place)));
    }
    if let Some(mistake) = name.strip_prefix("mistake:") {
        let known = task::all().iter().flat_map(|task| task.mistakes);
        let found = known.into_iter().find(|known| known.name == mistake);
        let unknown = || OpenError::Manifest(format!("there is no known mistake `{mistake}`"));
        return Ok(Box::new(HonestSource(found.ok_or_else(unknown)?.way())));
    }
    if let Some(order) = name.strip_prefix("plain") {
        let named = |o: &Order| format!("{o:?}").to_lowercase();
        let order = order.strip_prefix(':').unwrap_or("forward");
        let found = Order::ALL.into_iter().find(|o| named(o) == order);
        let orders = Order::ALL.map(|o| named(&o)).join(", ");
        let unknown = || OpenError::Manifest(format!("plain:{order}? The orders are {orders}"));
        let way = Way::right(found.ok_or_else(unknown)?);
        return Ok(Box::new(HonestSource(way)));
    }
    if Path::new(name).exists() {
        return Ok(Box::new(ManifestSource::new(Path::new(name), options)?));
    }
    Err(OpenError::Manifest(format!(
        "there is no submission `{name}`; `builtin` and `plain` are always there"
    )))
}
