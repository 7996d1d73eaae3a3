//! `facectl gallery forget`: remove a person, and prove it.

use std::path::PathBuf;
use std::time::Duration;

use face_core::gallery::{Access, GalleryError};
use face_core::outbox;
use serde_json::json;

use super::{Common, Consent};
use crate::output::{self, Exit, counted, printable};

/// Forget a person: remove them, and search the files for what may be left
///
/// Deletes the person, writes the gallery's files anew, and searches these and the outbox for the
/// name, the id, the embeddings, their checksums and the pictures. Says "forgotten" only if nothing is found;
/// else it names the files, and can be run again, without a person for everybody unfinished.
///
/// Backups, exports and other copies are not searched, nor what a disk keeps of overwritten files.
/// From a shared gallery the person is deleted; what its server keeps is its operator's to remove.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: forgotten, samples, elsewhere (people who stay and have the name in \
theirs), files (with remnants), on_server (a shared gallery: nothing was searched).

Exit status: 0 forgotten, 1 deleted but something is left, 2 it could not be carried out.")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Name or id; without it, what earlier calls could not finish
    person: Option<String>,
    /// Search this file or folder, too, such as an outbox that is not where GST_FACE_SPOOL says
    #[arg(long, value_name = "PATH")]
    also: Vec<PathBuf>,
    /// Wait so many seconds for other processes that read at the moment
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(0..=3600))]
    wait: u32,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    let (who, question) = match &arguments.person {
        None => (None, "finish what is to be forgotten".to_owned()),
        Some(who) => match roster.find(who) {
            Ok(person) => {
                let samples = u64::from(person.samples + person.negatives);
                let samples = counted(samples, "sample", "samples");
                (Some(person.id), format!("forget '{}' with {samples} for ever", person.name))
            }
            // It may be one whose forgetting was not finished.
            Err(GalleryError::NoSuchPerson { .. }) if roster.unfinished()? > 0 => {
                (Some(who.clone()), format!("finish forgetting '{who}'"))
            }
            Err(error) => return Err(error.into()),
        },
    };
    if !arguments.consent.given(&question)? {
        return Ok(Exit::Negative);
    }
    let wait = Duration::from_secs(arguments.wait.into());
    // What waits to be delivered may be about them.
    let mut spool = outbox::default_spool().filter(|spool| spool.exists());
    if roster.location().is_server()
        && let Some(spool) = spool.take()
    {
        output::note(format!(
            "what waits in the spool '{}' is not searched: facectl outbox list shows it",
            printable(&spool.display().to_string())
        ));
    }
    let also: Vec<PathBuf> = arguments.also.iter().cloned().chain(spool).collect();
    match roster.forget(who.as_deref(), &also, wait) {
        Ok(forgotten) => {
            if forgotten.elsewhere > 0 && !arguments.common.json {
                let others = counted(forgotten.elsewhere as u64, "person", "people");
                output::note(format!("{others} who stay have the name in their own"));
            }
            let record = json!({
                "forgotten": true, "samples": forgotten.samples,
                "elsewhere": forgotten.elsewhere, "files": [], "on_server": forgotten.on_server,
            });
            let text = if forgotten.on_server {
                "deleted; what the server keeps of deleted rows, in its files, write-ahead log, \
                 replicas and backups, is its operator's to remove"
            } else {
                "forgotten"
            };
            arguments.common.done(&record, text)
        }
        Err(error @ GalleryError::Remnants { .. }) => {
            output::report(&error);
            if let (true, GalleryError::Remnants { files, .. }) = (arguments.common.json, &error) {
                let files: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
                output::json(&json!({"forgotten": false, "files": files}))?;
            }
            Ok(Exit::Negative)
        }
        Err(error) => Err(error.into()),
    }
}
