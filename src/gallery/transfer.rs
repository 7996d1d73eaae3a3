//! People leave one gallery and come into another, in one file of JSON lines.
//!
//! The first line says what the file is and in which embedding space its embeddings are. Each
//! person has a line, followed by a line for each of their samples, with embedding and pictures in
//! base64. The last line has the numbers of both and the checksum of all lines before: a file that
//! was cut or changed is refused as a whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::backend::{Backend, Writing};
use super::bundle::{self, Header, Line, Reader};
use super::staging::Staging;
use super::store::{PersonRow, SampleRow};
use super::{Access, BUSY_TIMEOUT, GalleryError, Location, TransferError, migrate};
use crate::embed::{Embedder, Embedding, Fingerprint};

/// Samples of another embedder that are embedded at a time.
const BATCH: usize = 64;

/// What to do with people whom the gallery has already, by id or by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// Import nobody.
    Refuse,
    /// Add the samples to those of the gallery's person, who keeps name, threshold and the rest.
    Merge,
    /// Leave these people out.
    Skip,
}

/// What an export holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    pub persons: u64,
    pub samples: u64,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// People who were not in the gallery before.
    pub persons: u64,
    /// People who were.
    pub merged: u64,
    /// People who were and were left out.
    pub skipped: u64,
    /// Samples stored.
    pub samples: u64,
    /// Samples that their person had already.
    pub duplicates: u64,
    /// Samples of another embedder that could not be embedded again: person, reason, number.
    pub lost: Vec<(String, migrate::Lost, u64)>,
}

/// Writes everybody of the gallery at `gallery`, or those whose id or name is in `only`, to
/// `file`, readable by its owner only. Each person is as they are at one moment; others may write
/// meanwhile.
///
/// # Errors
/// [`TransferError::Exists`] without `replace`, [`TransferError::Busy`], [`TransferError::Io`], or
/// [`TransferError::Gallery`]; [`GalleryError::NoSuchPerson`] if one of `only` is not there.
pub fn export(
    gallery: impl Into<Location>,
    file: &Path,
    only: &[String],
    replace: bool,
) -> Result<Exported, TransferError> {
    let mut store = Backend::open(&gallery.into(), Access::Read, None, BUSY_TIMEOUT)?;
    let file = super::backup::absolute(file)?;
    if let Backend::File(store) = &store {
        super::backup::refuse_to_overwrite_itself(store.path(), &file)?;
    }
    if !replace && file.symlink_metadata().is_ok() {
        return Err(TransferError::Exists { path: file });
    }
    let space = store.fingerprint()?;
    store.keep_to(&space);
    let numbers = chosen(&store, only)?;
    let staging = Staging::beside(&file)?;
    let failed = |source| TransferError::io("write", &file, source);
    let out = BufWriter::new(staging.create("export")?);
    let mut out = bundle::Writer::new(out, &Header::new(&space, store.now()?)).map_err(failed)?;
    for number in numbers {
        // Gone meanwhile: as if they had gone before.
        let Some((person, samples)) = store.person_rows(number)? else { continue };
        out.person(&person).map_err(failed)?;
        for sample in &samples {
            out.sample(sample).map_err(failed)?;
        }
    }
    let (exported, mut out) = out.finish().map_err(failed)?;
    out.flush().map_err(failed)?;
    drop(out);
    staging.publish("export", true)?;
    Ok(exported)
}

/// Numbers of the people to export.
pub(super) fn chosen(store: &Backend, only: &[String]) -> Result<Vec<i64>, TransferError> {
    let people = store.everybody()?;
    let is =
        |wanted: &String, (_, id, name): &(i64, String, String)| wanted == id || wanted == name;
    if let Some(id) = only.iter().find(|wanted| !people.iter().any(|p| is(wanted, p))) {
        return Err(GalleryError::NoSuchPerson { path: store.path().into(), id: id.clone() }.into());
    }
    let chosen = |p: &(i64, String, String)| only.is_empty() || only.iter().any(|w| is(w, p));
    Ok(people.into_iter().filter(chosen).map(|(number, ..)| number).collect())
}

/// In which embedding space the embeddings of an export are. Reads its first line only.
///
/// # Errors
/// [`TransferError::Damaged`], [`TransferError::NewerFormat`] or [`TransferError::Io`].
pub fn space_of(file: &Path) -> Result<Fingerprint, TransferError> {
    Ok(Reader::open(file)?.space().clone())
}

/// Takes the people of an export into the gallery at `gallery`: all of them, as `clash` says, or
/// nobody. A missing gallery is made, in the embedding space of `embedder`, or of the file without
/// one. If the gallery is of another space than the file, the stored pictures are embedded again,
/// for which `embedder` must be that of the gallery; samples without a picture are left out and
/// counted. `progress` is told the number of samples embedded so far.
///
/// # Errors
/// [`TransferError::Damaged`], [`TransferError::NewerFormat`], [`TransferError::Clash`],
/// [`TransferError::TwoPeople`], [`TransferError::NeedsEmbedder`], [`TransferError::Embed`],
/// [`TransferError::Busy`], [`TransferError::Io`] or [`TransferError::Gallery`].
pub fn import(
    file: &Path,
    gallery: impl Into<Location>,
    clash: Clash,
    embedder: Option<&mut Embedder>,
    progress: &mut dyn FnMut(u64),
) -> Result<Imported, TransferError> {
    let location = gallery.into();
    let written = space_of(file)?;
    let gallery = match &location {
        Location::File(path) => super::backup::absolute(path)?,
        Location::Server(_) => {
            let space = embedder.as_ref().map_or(written, |e| (**e.fingerprint()).clone());
            let store = Backend::open(&location, Access::Create, Some(&space), BUSY_TIMEOUT)?;
            let space = store.fingerprint()?;
            return import_into(store, &space, file, clash, embedder, progress);
        }
    };
    if gallery.symlink_metadata().is_ok() {
        let store = Backend::open(&location, Access::Write, None, BUSY_TIMEOUT)?;
        let space = store.fingerprint()?;
        return import_into(store, &space, file, clash, embedder, progress);
    }
    super::file::create_folder_of(&gallery)
        .map_err(|e| TransferError::io("make folder of", &gallery, e))?;
    let staging = Staging::beside(&gallery)?;
    let space = embedder.as_ref().map_or(written, |e| (**e.fingerprint()).clone());
    let copy = Location::File(staging.path("copy"));
    let store = Backend::open(&copy, Access::Create, Some(&space), BUSY_TIMEOUT)?;
    let imported = import_into(store, &space, file, clash, embedder, progress)?;
    super::backup::put_new(&gallery, &staging)?;
    Ok(imported)
}

fn import_into(
    mut store: Backend,
    space: &Fingerprint,
    file: &Path,
    clash: Clash,
    embedder: Option<&mut Embedder>,
    progress: &mut dyn FnMut(u64),
) -> Result<Imported, TransferError> {
    store.keep_to(space);
    // The whole file is read and found good before anything is written, and embedded before
    // anybody has to wait for the transaction.
    let written = space_of(file)?;
    let same_alignment = written.alignment == space.alignment;
    let embeddings = if written.same_space(space) {
        Reader::open(file)?.for_each(&mut |_| Ok(()))?;
        None
    } else {
        let embedder = embedder.filter(|e| e.fingerprint().same_space(space));
        let Some(embedder) = embedder else {
            return Err(TransferError::NeedsEmbedder {
                path: file.into(),
                written_by: written.model,
                gallery: space.model.clone(),
            });
        };
        Some(embed_all(file, embedder, same_alignment, progress)?)
    };
    store.transact("import", |writing| {
        let mut import = Import::new(writing, file, clash, embeddings.as_deref());
        import.same_alignment = same_alignment;
        // It is the same file as before, or the transaction ends with its checksum.
        Reader::open(file)?.for_each(&mut |line| import.take(line))?;
        import.finish()
    })
}

type Embedded = Result<Embedding, migrate::Lost>;

/// New embeddings of all samples of a file, in their order.
fn embed_all(
    file: &Path,
    embedder: &mut Embedder,
    same_alignment: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Embedded>, TransferError> {
    let (mut embeddings, mut waiting) = (Vec::new(), Vec::new());
    Reader::open(file)?.for_each(&mut |line| {
        if let Line::Sample(sample) = line {
            waiting.push((sample.crop_png, sample.loose));
        }
        if waiting.len() == BATCH {
            let batch = std::mem::take(&mut waiting);
            embeddings.extend(migrate::embed(embedder, &batch, same_alignment)?);
            progress(embeddings.len() as u64);
        }
        Ok(())
    })?;
    embeddings.extend(migrate::embed(embedder, &waiting, same_alignment)?);
    progress(embeddings.len() as u64);
    Ok(embeddings)
}

/// An import in its transaction.
struct Import<'a, 't> {
    writing: &'a Writing<'a, 't>,
    file: &'a Path,
    clash: Clash,
    /// Replacements for the embeddings of the file, in its order.
    embeddings: Option<&'a [Embedded]>,
    /// Are the aligned pictures of the file aligned as the gallery's are?
    same_alignment: bool,
    next: usize,
    /// The person whose samples come: their number, none if they are left out.
    person: Option<i64>,
    name: String,
    clashes: Vec<String>,
    imported: Imported,
}

impl<'a, 't> Import<'a, 't> {
    fn new(
        writing: &'a Writing<'a, 't>,
        file: &'a Path,
        clash: Clash,
        embeddings: Option<&'a [Embedded]>,
    ) -> Self {
        Self {
            writing,
            file,
            clash,
            embeddings,
            same_alignment: true,
            next: 0,
            person: None,
            name: String::new(),
            clashes: Vec::new(),
            imported: Imported::default(),
        }
    }

    fn take(&mut self, line: Line) -> Result<(), TransferError> {
        match line {
            Line::Person(person) => self.take_person(person),
            Line::Sample(sample) => self.take_sample(sample),
        }
    }

    fn take_person(&mut self, person: PersonRow) -> Result<(), TransferError> {
        self.name.clone_from(&person.name);
        let there = match self.writing.find(&person.id, &person.name)? {
            (None, None) => {
                self.imported.persons += 1;
                self.person = Some(self.writing.add_person(&person)?);
                return Ok(());
            }
            (Some(id), Some(name)) if id != name => {
                let (path, name) = (self.file.into(), person.name);
                return Err(TransferError::TwoPeople { path, name });
            }
            (id, name) => id.or(name),
        };
        self.clashes.push(person.name);
        self.person = there.filter(|_| self.clash == Clash::Merge);
        match self.clash {
            Clash::Merge => self.imported.merged += 1,
            Clash::Refuse | Clash::Skip => self.imported.skipped += 1,
        }
        Ok(())
    }

    fn take_sample(&mut self, mut sample: SampleRow) -> Result<(), TransferError> {
        let replacement = match self.embeddings {
            Some(embeddings) => embeddings.get(self.next),
            None => None,
        };
        self.next += 1;
        let Some(person) = self.person else { return Ok(()) };
        match (self.embeddings.is_some(), replacement) {
            (false, _) => {}
            (true, Some(Ok(embedding))) => sample.embedding = embedding.to_bytes(),
            (true, Some(Err(lost))) => {
                self.lose(*lost);
                return Ok(());
            }
            // The file grew since it was read: its checksum ends the import.
            (true, None) => return Ok(()),
        }
        sample.crop_png = sample.crop_png.filter(|_| self.same_alignment);
        if self.writing.add_sample(person, &sample)? {
            self.imported.samples += 1;
        } else {
            self.imported.duplicates += 1;
        }
        Ok(())
    }

    fn lose(&mut self, reason: migrate::Lost) {
        match self.imported.lost.last_mut() {
            Some((name, last, count)) if *name == self.name && *last == reason => *count += 1,
            _ => self.imported.lost.push((self.name.clone(), reason, 1)),
        }
    }

    fn finish(self) -> Result<Imported, TransferError> {
        if let (Clash::Refuse, Some(first)) = (self.clash, self.clashes.first()) {
            let (path, count, first) = (self.file.into(), self.clashes.len(), first.clone());
            return Err(TransferError::Clash { path, count, first });
        }
        if self.imported.persons + self.imported.samples > 0 {
            self.writing.raise_generation()?;
            self.writing.audit("import", self.imported.samples as usize)?;
        }
        Ok(self.imported)
    }
}

/// As [`Writer::finish`](bundle::Writer::finish) gives the file back.
pub(super) type Out = BufWriter<File>;

#[cfg(test)]
mod tests;
