//! What a package installs beside facectl: manual pages and completions, both made of the command
//! line itself.

use std::path::PathBuf;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

use crate::output::{self, Exit};

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Packages install them. By hand, for bash:
  facectl completions bash > ~/.local/share/bash-completion/completions/facectl")]
pub(crate) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Write the manual pages of facectl and its commands
#[derive(Debug, clap::Args)]
pub(crate) struct ManArguments {
    /// Folder to write them to
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(crate) fn completions(
    arguments: &CompletionsArguments,
    mut facectl: Command,
) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut facectl, "facectl", &mut script);
    // Its last line ends already; this one prints one.
    let script = String::from_utf8(script).context("print completions")?;
    output::line(script.trim_end())?;
    Ok(Exit::Success)
}

pub(crate) fn man(arguments: &ManArguments, facectl: Command) -> anyhow::Result<Exit> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(facectl, folder))
        .with_context(|| format!("write manual pages to '{}'", folder.display()))?;
    Ok(Exit::Success)
}
