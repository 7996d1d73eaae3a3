//! Many cameras in one process, as one configuration file says.

pub mod config;
mod degirum;

pub use degirum::{Import, Note, import_degirum};
