//! What a face is like, beside who it is.

pub mod pose;
