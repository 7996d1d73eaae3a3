//! A gallery moves to another embedder: its stored pictures are embedded again.
//!
//! New embeddings are made in memory while the gallery is in use as before. One transaction then
//! replaces them all, and a backup of the gallery as it was a moment earlier stays beside it as
//! `NAME.before-MODEL`, from which [`roll_back`] brings it back. A killed process leaves the old
//! gallery or the new one.
//!
//! In a shared gallery the new embeddings go to a table of their own, and one transaction says that
//! it is the one in use. The old table stays for [`roll_back`] until the next migration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::backend::Backend;
use super::postgres::{self, Switched};
use super::store::{Pictures, SampleKey, Store};
use super::{Access, BUSY_TIMEOUT, Location, TransferError, backup};
use crate::align::{AlignedCrop, CROP_SIDE};
use crate::embed::{Embedder, Embedding, Fingerprint};
use crate::geometry::{Landmarks, Point};
use crate::picture::Picture;

/// Pictures that are embedded at a time: enough for every worker, and few in memory.
const BATCH: usize = 64;

/// How often samples that were enrolled meanwhile are embedded before it is given up. Each round
/// takes the time of those that came in the round before.
const ROUNDS: usize = 10;

/// Why a sample cannot be embedded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lost {
    /// Its picture was not stored.
    NoPicture,
    /// Its stored picture is damaged.
    Unreadable,
    /// Only its aligned picture was stored, and the new model's alignment is another one.
    NoLoosePicture,
    /// The new model's output for it is no direction.
    NoEmbedding,
}

impl Lost {
    /// For people, after a number of samples.
    pub fn as_str(self) -> &'static str {
        match self {
            Lost::NoPicture => "without a stored picture",
            Lost::Unreadable => "whose stored picture cannot be read",
            Lost::NoLoosePicture => {
                "stored without the surroundings of the face, which the model's alignment needs"
            }
            Lost::NoEmbedding => "that the model gives no embedding for",
        }
    }
}

/// What a migration would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Model of the gallery now, and the one it would come to.
    pub from: String,
    pub to: String,
    pub samples: u64,
    /// Samples that cannot be taken along, by the reason.
    pub lost: Vec<(Lost, u64)>,
    /// Names of people who would have no sample left. They stay, and are not recognised.
    pub emptied: Vec<String>,
}

impl Plan {
    /// Number of samples that cannot be taken along.
    pub fn lost(&self) -> u64 {
        self.lost.iter().map(|l| l.1).sum()
    }
}

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Samples in the new embedding space.
    pub samples: u64,
    /// Samples that could not be taken along.
    pub lost: u64,
    /// Samples of people who have the very same one.
    pub duplicates: u64,
    /// The gallery as it was, a backup; `None` for a shared one, which keeps it itself.
    pub before: Option<PathBuf>,
}

/// What a roll-back would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// The gallery before the migration; `None` for a shared one, which keeps it itself.
    pub before: Option<PathBuf>,
    /// Model that it would come back to.
    pub model: String,
    /// UTC, when it was left.
    pub created: String,
    /// What it had then, and would have again.
    pub kept_persons: u64,
    pub kept_samples: u64,
    /// People and samples that came since, and would be lost.
    pub persons: u64,
    pub samples: u64,
}

/// Looks what a migration of the gallery at `location` to `to` would lose. Reads every stored picture.
///
/// # Errors
/// [`TransferError::SameSpace`], or [`TransferError::Gallery`] as from
/// [`Gallery::open`](super::Gallery::open).
pub fn plan(location: impl Into<Location>, to: &Fingerprint) -> Result<Plan, TransferError> {
    let store = Backend::open(&location.into(), Access::Read, None, BUSY_TIMEOUT)?;
    let from = space_to_leave(&store, to)?;
    let mut lost: HashMap<Lost, u64> = HashMap::new();
    // Per person: does one of their samples stay?
    let mut kept: HashMap<String, bool> = HashMap::new();
    let mut names = Vec::new();
    let mut samples = 0;
    for (id, _) in store.sample_keys()? {
        let Some((name, pictures)) = store.pictures(id)? else { continue };
        samples += 1;
        let crop = crop_of(&pictures, from.alignment == to.alignment);
        let stays = kept.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            false
        });
        match crop {
            Ok(_) => *stays = true,
            Err(reason) => *lost.entry(reason).or_default() += 1,
        }
    }
    names.retain(|name| kept.get(name) == Some(&false));
    let mut lost: Vec<_> = lost.into_iter().collect();
    lost.sort();
    Ok(Plan { from: from.model, to: to.model.clone(), samples, lost, emptied: names })
}

/// Moves the gallery at `location` into the embedding space of `embedder`. At most `most_lost` samples
/// may fall by the wayside. `progress` is told the number of samples done and of all, and may be
/// called with a larger number of all later, when others enrol meanwhile.
///
/// # Errors
/// [`TransferError::SameSpace`], [`TransferError::MoreLost`], [`TransferError::TooBusy`],
/// [`TransferError::Embed`], [`TransferError::Io`] or [`TransferError::Gallery`]. The gallery is as
/// before then.
pub fn run(
    location: impl Into<Location>,
    embedder: &mut Embedder,
    most_lost: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Migrated, TransferError> {
    let to = embedder.fingerprint().clone();
    let mut store = Backend::open(&location.into(), Access::Write, None, BUSY_TIMEOUT)?;
    let from = space_to_leave(&store, &to)?;
    // Somebody else's migration meanwhile ends this one.
    store.keep_to(&from);
    let space = match &store {
        Backend::File(_) => None,
        Backend::Server(server) => Some(server.begin_migration(&to)?),
    };
    let migrated = embed_and_switch(&mut store, space, embedder, &from, most_lost, progress);
    if let (Backend::Server(server), Some(space), Err(_)) = (&store, space, &migrated) {
        // What cannot be removed now is removed by the next migration.
        let _ = server.abandon(space);
    }
    migrated
}

fn embed_and_switch(
    store: &mut Backend,
    space: Option<i32>,
    embedder: &mut Embedder,
    from: &Fingerprint,
    most_lost: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Migrated, TransferError> {
    let to = embedder.fingerprint().clone();
    let same_alignment = from.alignment == to.alignment;
    let mut done = HashMap::new();
    for _ in 0..ROUNDS {
        embed_missing(store, embedder, same_alignment, &mut done, progress)?;
        let migrated = match (&mut *store, space) {
            (Backend::Server(server), Some(space)) => switch(server, space, &done, most_lost)?,
            (Backend::File(file), _) => {
                let before = before(file.path(), &to.model);
                replace(file, &to, &done, most_lost, &before)?
            }
            (Backend::Server(_), None) => None,
        };
        if let Some(migrated) = migrated {
            return Ok(migrated);
        }
    }
    Err(TransferError::TooBusy { path: store.path().into() })
}

/// Stores the new embeddings on the server and takes them into use, if they are all there.
fn switch(
    server: &postgres::Store,
    space: i32,
    done: &Done,
    most_lost: u64,
) -> Result<Option<Migrated>, TransferError> {
    server.fill(space, done.iter().filter_map(|(key, new)| Some((key.0, new.as_ref().ok()?))))?;
    match server.switch(space, done, most_lost)? {
        Switched::Incomplete => Ok(None),
        Switched::Lost(lost) => {
            Err(TransferError::MoreLost { path: server.path().into(), lost, most: most_lost })
        }
        Switched::Done { samples, lost, duplicates } => {
            Ok(Some(Migrated { samples, lost, duplicates, before: None }))
        }
    }
}

/// New embeddings, or why there is none.
pub(super) type Done = HashMap<SampleKey, Result<Embedding, Lost>>;

fn space_to_leave(store: &Backend, to: &Fingerprint) -> Result<Fingerprint, TransferError> {
    let from = store.fingerprint()?;
    if from.same_space(to) {
        return Err(TransferError::SameSpace { path: store.path().into(), model: from.model });
    }
    Ok(from)
}

fn embed_missing(
    store: &Backend,
    embedder: &mut Embedder,
    same_alignment: bool,
    done: &mut Done,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), TransferError> {
    let keys = store.sample_keys()?;
    let all = keys.len() as u64;
    let missing: Vec<_> = keys.into_iter().filter(|key| !done.contains_key(key)).collect();
    let mut count = all - missing.len() as u64;
    for batch in missing.chunks(BATCH) {
        let mut pictures = Vec::with_capacity(batch.len());
        for (id, _) in batch {
            // Gone meanwhile, which the transaction sees as well.
            pictures.push(store.pictures(*id)?.map_or((None, None), |(_, pictures)| pictures));
        }
        let embedded = embed(embedder, &pictures, same_alignment)?;
        done.extend(batch.iter().cloned().zip(embedded));
        count += batch.len() as u64;
        progress(count, all);
    }
    Ok(())
}

/// Embeds samples by their stored pictures; one result for each. `same_alignment`: are their
/// aligned pictures aligned as the embedder needs them?
pub(super) fn embed(
    embedder: &mut Embedder,
    pictures: &[Pictures],
    same_alignment: bool,
) -> Result<Vec<Result<Embedding, Lost>>, TransferError> {
    let crops: Vec<_> = pictures.iter().map(|p| crop_of(p, same_alignment)).collect();
    let good: Vec<&AlignedCrop> = crops.iter().filter_map(|c| c.as_ref().ok()).collect();
    let mut embedded = embedder.embed(&good, None)?.into_iter();
    let result = |crop: &Result<AlignedCrop, Lost>| match crop {
        Ok(_) => embedded.next().and_then(Result::ok).ok_or(Lost::NoEmbedding),
        Err(lost) => Err(*lost),
    };
    Ok(crops.iter().map(result).collect())
}

/// Replaces all embeddings, if each sample has a new one (or has none to expect). Whoever else
/// wants to write waits meanwhile.
fn replace(
    store: &mut Store,
    to: &Fingerprint,
    done: &Done,
    most_lost: u64,
    before: &Path,
) -> Result<Option<Migrated>, TransferError> {
    let path = store.path().to_path_buf();
    let same_alignment = store.fingerprint()?.alignment == to.alignment;
    store.transact("migrate", true, |writing| {
        let keys = writing.sample_keys()?;
        let found: Vec<_> = keys.iter().filter_map(|k| Some((k.0, done.get(k)?))).collect();
        if found.len() < keys.len() {
            return Ok(None);
        }
        let lost = found.iter().filter(|(_, new)| new.is_err()).count() as u64;
        if lost > most_lost {
            return Err(TransferError::MoreLost { path: path.clone(), lost, most: most_lost });
        }
        // Nobody can write now, so it is of this very moment; it is on the disk before the old
        // embeddings go.
        backup::create(&path, before, true)?;
        let mut samples = 0;
        for (id, new) in found {
            samples += u64::from(writing.embed_again(id, new.as_ref().ok())?);
        }
        if !same_alignment {
            writing.remove_aligned()?;
        }
        writing.enter_space(to)?;
        writing.audit("migrate", keys.len())?;
        let duplicates = keys.len() as u64 - lost - samples;
        Ok(Some(Migrated { samples, lost, duplicates, before: Some(before.into()) }))
    })
}

/// Looks for the gallery before its last migration, and at what came since.
///
/// # Errors
/// [`TransferError::NoWayBack`], [`TransferError::NeverMigrated`] of a shared gallery, or as from
/// [`backup::verify`].
pub fn way_back(location: impl Into<Location>) -> Result<WayBack, TransferError> {
    let store = match Backend::open(&location.into(), Access::Read, None, BUSY_TIMEOUT)? {
        Backend::File(store) => store,
        Backend::Server(store) => {
            let path = || store.path().into();
            return store.way_back()?.ok_or_else(|| TransferError::NeverMigrated { path: path() });
        }
    };
    let model = store.fingerprint()?.model;
    let before = before(store.path(), &model);
    if !before.exists() {
        return Err(TransferError::NoWayBack { path: store.path().into(), before, model });
    }
    let manifest = backup::verify(&before)?;
    let (persons, samples) = store.counts_since(&manifest.created)?;
    Ok(WayBack {
        before: Some(before),
        model: manifest.model,
        created: manifest.created,
        kept_persons: manifest.persons,
        kept_samples: manifest.samples,
        persons,
        samples,
    })
}

/// Brings the gallery at `location` back to what it was before its last migration; what came since
/// is lost. The backup that it came from is removed.
///
/// # Errors
/// As [`way_back`] and [`backup::restore`]. The gallery is as before then, unless it is only the
/// backup that cannot be removed ([`TransferError::Io`] with the backup's path).
pub fn roll_back(location: impl Into<Location>) -> Result<WayBack, TransferError> {
    let location = location.into();
    let way = way_back(&location)?;
    match (&location, &way.before) {
        (Location::File(path), Some(before)) => {
            backup::restore(before, path, true)?;
            std::fs::remove_file(before).map_err(|e| TransferError::io("remove", before, e))?;
        }
        _ => {
            let store = Backend::open(&location, Access::Write, None, BUSY_TIMEOUT)?;
            if let Backend::Server(server) = &store
                && !server.roll_back()?
            {
                return Err(TransferError::NeverMigrated { path: store.path().into() });
            }
        }
    }
    Ok(way)
}

/// Where the gallery as it was before it came to `model` is kept.
pub fn before(gallery: &Path, model: &str) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let model: String = model.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let mut name = gallery.as_os_str().to_owned();
    name.push(".before-");
    name.push(model);
    PathBuf::from(name)
}

/// The aligned face of a sample, cut again from the looser picture if need be: if there is no
/// aligned picture, if it is damaged, or if its alignment is another one.
fn crop_of((aligned, loose): &Pictures, same_alignment: bool) -> Result<AlignedCrop, Lost> {
    let aligned_crop = aligned.as_ref().filter(|_| same_alignment).and_then(|png| {
        let picture = Picture::decode("aligned picture", png).ok()?;
        let side = CROP_SIDE as u32;
        let fits = (picture.width(), picture.height()) == (side, side);
        fits.then(|| AlignedCrop::from_rgb(picture.as_rgb().to_vec())).flatten()
    });
    let cut = || {
        let loose = loose.as_ref()?;
        let picture = Picture::decode("loose picture", &loose.png).ok()?;
        AlignedCrop::cut(&picture.view(), &Landmarks(loose.points.map(|[x, y]| Point::new(x, y))))
    };
    let lost = match (aligned, loose) {
        (None, None) => Lost::NoPicture,
        (Some(_), None) if !same_alignment => Lost::NoLoosePicture,
        _ => Lost::Unreadable,
    };
    aligned_crop.or_else(cut).ok_or(lost)
}

#[cfg(test)]
mod tests;
