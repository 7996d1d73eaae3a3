//! How often to look, so that the processors are used and not overrun, and what a look costs.
//!
//! `controller` decides how many looks a second the streams of a process may take, `pace` which
//! frames of one stream these are, `share` brings both together with the clocks. The rest measures:
//! `histogram` times, `promise` the latency that an element tells. All but `share` are told the
//! time, and tested without a clock.

mod controller;
mod histogram;
mod interval;
mod pace;
mod promise;
mod share;
#[cfg(test)]
mod simulation;

pub use histogram::Histogram;
pub use interval::{Interval, IntervalError};
pub use promise::Promise;
pub use share::Share;
