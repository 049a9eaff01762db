//! Tasks, lanes, verdicts and reports. Nothing is graded yet: the room holds the `touchstone`
//! tool's `doctor` command.
#![forbid(unsafe_code)]
