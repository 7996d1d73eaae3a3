//! `facectl`: enrol, recognise and analyse faces, manage galleries and models.

mod models;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Enrol, recognise and analyse faces, manage galleries and models.
#[derive(Debug, Parser)]
#[command(name = "facectl", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 a problem was found, 2 wrong usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List, fetch, locate and verify models.
    Models(models::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Models(args) => models::run(args),
    };
    match result {
        Ok(code) => code,
        // Whoever read the output has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(1)
        }
    }
}

/// Tells of an error: the one place that does.
fn report(error: &anyhow::Error) {
    note(format_args!("facectl: error: {error:#}"));
}

/// Prints a line beside the output proper. A closed standard error is no reason to fail.
fn note(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
