//! The properties of TASKS' attention families, on the oracle.
