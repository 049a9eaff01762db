//! The safe launch API: devices behind one trait, typed buffers, checked launches.
