//! People go from one gallery to another one of the same embedding space, whatever each of the two
//! is: a file, or a database on a server.

use super::backend::Backend;
use super::transfer::chosen;
use super::{Access, BUSY_TIMEOUT, GalleryError, Location, TransferError, embedder_ids};

/// What a copy did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// People who were not there before.
    pub persons: u64,
    /// People who were, by id or by name: they keep name, threshold and the rest, and get samples.
    pub merged: u64,
    /// Samples stored.
    pub samples: u64,
    /// Samples that their person had already.
    pub duplicates: u64,
}

/// Copies everybody of the gallery `from`, or those whose id or name is in `only`, to the gallery
/// `to`, with samples, pictures, negative samples, threshold, expiry and attributes. A missing
/// gallery is made. Each person is copied whole or not at all; who is there already gets the
/// samples that are not, so that an interrupted copy goes on where it was when it is called again.
/// Others may read and write both meanwhile. `progress` is told the number of people done and of
/// all.
///
/// # Errors
/// [`TransferError::OtherSpace`], [`TransferError::SameGallery`], [`TransferError::TwoPeople`] if
/// a person has the id of one and the name of another, or [`TransferError::Gallery`];
/// [`GalleryError::NoSuchPerson`] if one of `only` is not there. Who was copied before stays.
pub fn run(
    from: impl Into<Location>,
    to: impl Into<Location>,
    only: &[String],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Copied, TransferError> {
    let (from, to) = (from.into(), to.into());
    let mut source = open_source(&from, &to)?;
    let space = source.fingerprint()?;
    source.keep_to(&space);
    let numbers = chosen(&source, only)?;
    let mut target = Backend::open(&to, Access::Create, Some(&space), BUSY_TIMEOUT)?;
    refuse_other_space(&source, &target)?;
    target.keep_to(&space);
    let mut copied = Copied::default();
    let all = numbers.len() as u64;
    for (number, done) in numbers.into_iter().zip(1..) {
        copy_person(&source, &mut target, number, &mut copied)?;
        progress(done, all);
    }
    Ok(copied)
}

/// What [`run`] would do, as the galleries are now. Writes nothing, and makes no gallery.
///
/// # Errors
/// As [`run`].
pub fn plan(
    from: impl Into<Location>,
    to: impl Into<Location>,
    only: &[String],
) -> Result<Copied, TransferError> {
    let (from, to) = (from.into(), to.into());
    let source = open_source(&from, &to)?;
    let target = match Backend::open(&to, Access::Read, None, BUSY_TIMEOUT) {
        Ok(target) => Some(target),
        Err(GalleryError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(target) = &target {
        refuse_other_space(&source, target)?;
    }
    let there = target.as_ref().map_or(Ok(Vec::new()), Backend::everybody)?;
    let mut copied = Copied::default();
    for number in chosen(&source, only)? {
        let Some((person, samples)) = source.person_rows(number)? else { continue };
        let known = there.iter().find(|p| p.1 == person.id);
        let known = known.or_else(|| there.iter().find(|p| p.2 == person.name));
        let has = match (known, &target) {
            (Some(known), Some(target)) => target.person_rows(known.0)?,
            _ => None,
        };
        let Some((_, has)) = has else {
            copied.persons += 1;
            copied.samples += samples.len() as u64;
            continue;
        };
        copied.merged += 1;
        let twice = samples.iter().filter(|s| has.iter().any(|h| h.embedding == s.embedding));
        let duplicates = twice.count() as u64;
        copied.duplicates += duplicates;
        copied.samples += samples.len() as u64 - duplicates;
    }
    Ok(copied)
}

fn open_source(from: &Location, to: &Location) -> Result<Backend, TransferError> {
    let source = Backend::open(from, Access::Read, None, BUSY_TIMEOUT)?;
    let same_file = match (from, to) {
        (Location::File(a), Location::File(b)) => {
            a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
        }
        _ => from.to_string() == to.to_string(),
    };
    if same_file {
        return Err(TransferError::SameGallery { path: source.path().into() });
    }
    Ok(source)
}

fn refuse_other_space(source: &Backend, target: &Backend) -> Result<(), TransferError> {
    let (from, to) = (source.fingerprint()?, target.fingerprint()?);
    if from.same_space(&to) {
        return Ok(());
    }
    let (to, from) = embedder_ids(&to, &from);
    Err(TransferError::OtherSpace { path: target.path().into(), from, to })
}

fn copy_person(
    source: &Backend,
    target: &mut Backend,
    number: i64,
    copied: &mut Copied,
) -> Result<(), TransferError> {
    // Gone meanwhile: as if they had gone before.
    let Some((person, samples)) = source.person_rows(number)? else { return Ok(()) };
    let path = target.path().to_path_buf();
    let (new, stored) = target.transact("copy to", |writing| {
        let (seq, new) = match writing.find(&person.id, &person.name)? {
            (None, None) => (writing.add_person(&person)?, true),
            (Some(id), Some(name)) if id != name => {
                return Err(TransferError::TwoPeople { path, name: person.name.clone() });
            }
            (Some(seq), _) | (None, Some(seq)) => (seq, false),
        };
        let mut stored = 0;
        for sample in &samples {
            stored += u64::from(writing.add_sample(seq, sample)?);
        }
        if new || stored > 0 {
            writing.raise_generation()?;
            writing.audit("copy", stored as usize)?;
        }
        Ok((new, stored))
    })?;
    copied.persons += u64::from(new);
    copied.merged += u64::from(!new);
    copied.samples += stored;
    copied.duplicates += samples.len() as u64 - stored;
    Ok(())
}

#[cfg(test)]
mod tests;
