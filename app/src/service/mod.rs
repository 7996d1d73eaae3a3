//! Many cameras in one process, as one configuration file says.

pub mod config;
