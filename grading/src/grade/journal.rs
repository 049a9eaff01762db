//! The JSON report on disk: written whole or not at all after every task, and taken up again by a
//! run that follows one that was stopped.

use super::report::Report;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the report is kept, if anywhere.
#[derive(Debug)]
pub struct Journal {
    path: Option<PathBuf>,
    before: Option<Report>,
}

/// The report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written to {path}: {why}")]
pub struct JournalError {
    path: String,
    why: String,
}

impl Journal {
    /// Nowhere.
    pub fn none() -> Journal {
        Journal {
            path: None,
            before: None,
        }
    }

    /// In a file. What stands in it is looked at: an unfinished report is taken up again.
    pub fn at(path: &Path) -> Journal {
        let text = std::fs::read_to_string(path).ok();
        let before = text.and_then(|text| serde_json::from_str::<Report>(&text).ok());
        Journal {
            path: Some(path.to_owned()),
            before: before.filter(|report| !report.complete),
        }
    }

    /// The seed of the unfinished report.
    pub fn seed(&self) -> Option<u64> {
        self.before.as_ref().map(|report| report.seed)
    }

    /// Begins anew, whatever stands in the file.
    pub fn forget(&mut self) {
        self.before = None;
    }

    /// Takes the finished tasks of an unfinished report of the same run over, and says its seed.
    pub(super) fn resume(&mut self, report: &mut Report) -> Option<u64> {
        let before = self.before.take()?;
        let same = before.schema == report.schema
            && before.submission == report.submission
            && before.version == report.version
            && before.budget == report.budget
            && before.machine == report.machine;
        if !same {
            return None;
        }
        report.tasks = before.tasks;
        Some(before.seed)
    }

    /// Writes the report beside the file and puts it in its place.
    ///
    /// # Errors
    /// When that fails; the file is as it was then.
    pub(super) fn write(&self, report: &Report) -> Result<(), JournalError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let failed = |why: String| JournalError {
            path: path.display().to_string(),
            why,
        };
        let text = serde_json::to_string_pretty(report).map_err(|e| failed(e.to_string()))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok::<(), std::io::Error>(())
        };
        write().map_err(|e| failed(e.to_string()))
    }
}
