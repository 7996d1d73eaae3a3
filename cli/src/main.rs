//! facectl: enrol, recognise and compare faces, and look after galleries, clips and models.

mod analyze;
mod bench;
mod clips;
mod doctor;
mod enroll;
mod enroll_from;
mod enroll_video;
mod gallery;
mod gate;
mod import_degirum;
mod manual;
mod models;
mod options;
mod outbox;
mod output;
mod recognize;
mod run;
mod stored;
mod track;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Enrol, recognise and compare faces, analyse videos; look after galleries, clips and models
#[derive(Debug, Parser)]
#[command(name = "facectl", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Enroll(enroll::Arguments),
    Recognize(recognize::Arguments),
    Verify(verify::Arguments),
    Analyze(analyze::Arguments),
    Watch(watch::Arguments),
    Run(run::Arguments),
    Gallery(gallery::Arguments),
    Clips(clips::Arguments),
    Track(track::Arguments),
    ImportDegirum(import_degirum::Arguments),
    Outbox(outbox::Arguments),
    Bench(bench::Arguments),
    Doctor(doctor::Arguments),
    Models(models::Args),
    Completions(manual::CompletionsArguments),
    #[command(hide = true)]
    Man(manual::ManArguments),
}

const AFTER_HELP: &str = "\
Exit status:
  0  everything went well (verify: the same person)
  1  some input could not be used, or something is wrong (verify: different people)
  2  the command could not be carried out: wrong arguments, or a model, a gallery or ONNX Runtime
     cannot be used
  130  it was interrupted";

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Enroll(arguments) => enroll::run(&arguments).map(ExitCode::from),
        Command::Recognize(arguments) => recognize::run(&arguments).map(ExitCode::from),
        Command::Verify(arguments) => verify::run(&arguments).map(ExitCode::from),
        Command::Analyze(arguments) => analyze::run(&arguments).map(ExitCode::from),
        Command::Watch(arguments) => watch::run(&arguments).map(ExitCode::from),
        Command::Run(arguments) => run::run(&arguments).map(ExitCode::from),
        Command::Gallery(arguments) => gallery::run(&arguments).map(ExitCode::from),
        Command::Clips(arguments) => clips::run(&arguments).map(ExitCode::from),
        Command::Track(arguments) => track::run(&arguments).map(ExitCode::from),
        Command::ImportDegirum(arguments) => import_degirum::run(&arguments).map(ExitCode::from),
        Command::Outbox(arguments) => outbox::run(&arguments).map(ExitCode::from),
        Command::Bench(arguments) => bench::run(&arguments).map(ExitCode::from),
        Command::Doctor(arguments) => doctor::run(&arguments).map(ExitCode::from),
        Command::Models(arguments) => models::run(arguments),
        Command::Completions(arguments) => {
            manual::completions(&arguments, Arguments::command()).map(ExitCode::from)
        }
        Command::Man(arguments) => {
            manual::man(&arguments, Arguments::command()).map(ExitCode::from)
        }
    };
    result.unwrap_or_else(|error| output::failed(&error).into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_fit_together() {
        use clap::CommandFactory as _;
        super::Arguments::command().debug_assert();
    }
}
