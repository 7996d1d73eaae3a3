//! `facectl gallery copy`.

use face_core::gallery::Location;
use face_core::gallery::copy::{self, Copied};
use serde_json::json;

use crate::output::{self, Exit, counted, printable};

/// Copy people from one gallery to another: from a file to a server, back, or between two of a kind
///
/// With samples, pictures, rejected pictures, threshold, expiry and attributes. Both galleries must
/// be of the same embedder; the second is made if there is none. A person is copied whole or not at
/// all. People who are there already, by id or name, keep what they have and get the samples that
/// they lack: run it again after an interruption, or to bring what is new.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(value_name = "FROM")]
    from: Location,
    /// The gallery to copy to, likewise
    #[arg(value_name = "TO")]
    to: Location,
    /// Only this person, by id or name; may be given more than once
    #[arg(long, value_name = "PERSON")]
    person: Vec<String>,
    /// Say what would be copied, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object: persons, merged, samples, duplicates
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { from, to, person, dry_run, json } = arguments;
    let copied = if *dry_run {
        copy::plan(from, to, person)?
    } else {
        let bar = output::progress(0);
        let copied = copy::run(from, to, person, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        copied?
    };
    let Copied { persons, merged, samples, duplicates } = copied;
    if *json {
        output::json(&json!({
            "persons": persons, "merged": merged, "samples": samples, "duplicates": duplicates,
        }))?;
        return Ok(Exit::Success);
    }
    let text = format!(
        "{} and {} {} to '{to}'; {} there before, with {}",
        counted(persons, "new person", "new people"),
        counted(samples, "sample", "samples"),
        if *dry_run { "would be copied" } else { "copied" },
        counted(merged, "person", "people"),
        counted(duplicates, "of the samples", "of the samples"),
    );
    output::line(&printable(&text))?;
    Ok(Exit::Success)
}
