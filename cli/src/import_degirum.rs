//! `facectl import-degirum`: another program's configuration as one of ours.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use face_pipeline::service::{Note, import_degirum};

use crate::output::{self, Exit, printable};

/// Translate a configuration of DeGirum Face into one for facectl run
///
/// Says on standard error, key by key, what could not be translated and why, and what else there is to
/// do: secrets are not copied, but asked for in the environment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 if the translation does all that the file asks for, 1 if something is missing in it, 2 if \
the command could not be carried out.")]
pub(crate) struct Arguments {
    /// File to write; it must not be there yet [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// YAML file of FaceRecognizer, FaceTracker or FaceClipManager
    file: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { output, file } = arguments;
    let text = fs::read_to_string(file).with_context(|| format!("read '{}'", file.display()))?;
    let import = import_degirum(&text, file)?;
    match output {
        Some(path) => write_new(path, &import.yaml)?,
        None => output::line(import.yaml.trim_end())?,
    }
    for Note { place, key, text, lost } in &import.notes {
        let place = if place.line > 0 { format!("{place}: ") } else { String::new() };
        let what = if *lost { "not translated: " } else { "" };
        output::note(printable(&format!("{place}{key}: {what}{text}")));
    }
    Ok(if import.is_whole() { Exit::Success } else { Exit::Negative })
}

fn write_new(path: &PathBuf, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let file = fs::File::options().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write '{}'", path.display()))
}
