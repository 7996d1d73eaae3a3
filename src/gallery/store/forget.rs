//! Forgetting a person: delete, make the file anew, and look whether anything is left.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Transaction, params};

use super::needles::{Found, Needles};
use super::{GalleryError, Store, changes, people};
use crate::gallery::{Forgotten, file, staging};

/// How long to wait before a busy file is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Every value of the file that may hold what is looked for, so that what others have as well is
/// told from remnants. Interrupted searches themselves are hashes.
const LIVE: [&str; 8] = [
    "SELECT id, name, attributes, created, updated FROM persons",
    "SELECT embedding, sha256, source, created FROM samples",
    "SELECT png FROM crops",
    "SELECT png, points FROM loose_crops",
    "SELECT at, what, person FROM audit",
    "SELECT model, alignment, probe, created FROM meta",
    "SELECT type, name, tbl_name, sql FROM sqlite_schema",
    "SELECT 'SQLite format 3'",
];

impl Store {
    /// Forgets the person, or finishes what an earlier call could not; without `who` all of that.
    /// `also` are more files and folders to search, `wait` is how long readers of other processes
    /// are waited for.
    pub(in crate::gallery) fn forget(
        &mut self,
        who: Option<&str>,
        also: &[PathBuf],
        wait: Duration,
    ) -> Result<Forgotten, GalleryError> {
        let mut samples = 0;
        if let Some(who) = who {
            match self.find(who)? {
                Some(person) => samples = self.delete_to_forget(&person.id)?,
                None if self.unfinished()?.iter().any(|n| n.are_of(who)) => {}
                None => {
                    return Err(GalleryError::NoSuchPerson {
                        path: self.path.clone(),
                        id: who.into(),
                    });
                }
            }
        }
        let started = Instant::now();
        while let Err(error) = self.rewrite() {
            if !matches!(error, GalleryError::Busy { .. }) || started.elapsed() >= wait {
                return Err(self.unsure(error));
            }
            std::thread::sleep(RETRY);
        }
        self.remove_left()?;
        let elsewhere = self.search_remnants(also)?;
        self.write("forget in", |tx| tx.execute("DELETE FROM forgetting", []))?;
        // What was just deleted are hashes, overwritten with zeros; it is as well if readers keep
        // them in the log for a while.
        let _ = self.checkpoint();
        Ok(Forgotten { samples, elsewhere, on_server: false })
    }

    /// Number of people whose traces were not yet seen to be gone.
    pub(in crate::gallery) fn unfinished_count(&self) -> Result<usize, GalleryError> {
        Ok(self.unfinished()?.len())
    }

    fn unfinished(&self) -> Result<Vec<Needles>, GalleryError> {
        let read = || {
            let mut statement = self.conn.prepare("SELECT needles FROM forgetting")?;
            let rows = statement.query_map([], |r| r.get::<_, Vec<u8>>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|e| self.error("read", e))?;
        let parse = |bytes: &Vec<u8>| {
            Needles::from_bytes(bytes).ok_or_else(|| self.damaged("table forgetting"))
        };
        rows.iter().map(parse).collect()
    }

    /// Deletes the person's rows and notes what to search for; the number of samples.
    fn delete_to_forget(&mut self, id: &str) -> Result<usize, GalleryError> {
        let deleted = self.write("forget in", |tx| {
            let Some(seq) = people::seq_of(tx, id)? else { return Ok(None) };
            let needles = needles_of(tx, seq)?;
            tx.execute("INSERT INTO forgetting (needles) VALUES (?1)", [needles.to_bytes()])?;
            changes::person_goes(tx, seq)?;
            let count = tx.execute("DELETE FROM samples WHERE person = ?1", [seq])?;
            tx.execute("DELETE FROM persons WHERE seq = ?1", [seq])?;
            tx.execute("DELETE FROM audit WHERE person = ?1", [id])?;
            people::audit(tx, "forget", None, count)?;
            changes::raise_after_removal(tx)?;
            Ok(Some(count))
        })?;
        let path = self.path.clone();
        deleted.ok_or_else(|| GalleryError::NoSuchPerson { path, id: id.into() })
    }

    /// Leaves nothing in the files but what the tables hold: secure_delete alone misses what moved
    /// between pages, and the log keeps old pages.
    fn rewrite(&self) -> Result<(), GalleryError> {
        self.checkpoint()?;
        self.conn.execute_batch("VACUUM").map_err(|e| self.error("forget in", e))?;
        self.checkpoint()
    }

    /// Moves the log into the file and empties it; needs a moment without readers.
    fn checkpoint(&self) -> Result<(), GalleryError> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy = self.conn.query_row(sql, [], |r| r.get::<_, i64>(0));
        match busy.map_err(|e| self.error("forget in", e))? {
            0 => Ok(()),
            _ => Err(GalleryError::Busy { op: "forget in", path: self.path.clone() }),
        }
    }

    /// Removes the half-done backups, restores and migrations of killed processes: nobody would ever
    /// end them.
    fn remove_left(&self) -> Result<(), GalleryError> {
        let files = file::companions(&self.path).map_err(|e| self.unsearched(&self.path, e))?;
        files.iter().filter_map(|f| f.parent()).for_each(staging::remove_left);
        Ok(())
    }

    /// A busy file is no proof: says in which files something may be left.
    fn unsure(&self, error: GalleryError) -> GalleryError {
        let searched = match error {
            GalleryError::Busy { .. } => self.search_remnants(&[]),
            other => return other,
        };
        match searched {
            Err(found @ GalleryError::Remnants { .. }) => found,
            _ => error,
        }
    }

    /// Searches the files of the gallery and `also` for all that is being forgotten. Gives how many
    /// people have the same in their texts, so that nothing can be said of it.
    fn search_remnants(&self, also: &[PathBuf]) -> Result<usize, GalleryError> {
        let mut elsewhere = 0;
        let mut files = file::companions(&self.path).map_err(|e| self.unsearched(&self.path, e))?;
        for path in also {
            file::collect(path, &mut files).map_err(|e| self.unsearched(path, e))?;
        }
        let mut found = Vec::new();
        for mut needles in self.unfinished()? {
            elsewhere += self.take_out_live(&mut needles)?;
            let search = needles.search();
            for path in &files {
                // A temporary file may be gone meanwhile.
                let searched = match File::open(path) {
                    Ok(file) => search.read(file),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => Err(e),
                };
                if !searched.map_err(|e| self.unsearched(path, e))?.is_empty() {
                    found.push(path.clone());
                }
            }
        }
        if found.is_empty() {
            return Ok(elsewhere);
        }
        found.sort();
        found.dedup();
        Err(GalleryError::Remnants { path: self.path.clone(), files: found })
    }

    fn unsearched(&self, path: &Path, error: std::io::Error) -> GalleryError {
        let source = format!("search '{}': {error}", path.display()).into();
        GalleryError::Failed { op: "forget in", path: self.path.clone(), source }
    }

    /// Takes out what rows that stay have as well; of how many people, who stay, the texts have it.
    fn take_out_live(&self, needles: &mut Needles) -> Result<usize, GalleryError> {
        let (mut people, mut found) = (0, Found::new());
        let search = needles.search();
        let mut read = || {
            for sql in LIVE {
                let mut statement = self.conn.prepare(sql)?;
                let columns = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let mut of_row = Found::new();
                    for column in 0..columns {
                        let bytes = row.get_ref(column)?.as_bytes_or_null();
                        search.bytes(bytes?.unwrap_or_default(), &mut of_row);
                    }
                    people += usize::from(sql == LIVE[0] && !of_row.is_empty());
                    found.extend(of_row);
                }
            }
            Ok(())
        };
        read().map_err(|e: rusqlite::Error| self.error("read", e))?;
        needles.remove(&found);
        Ok(people)
    }
}

/// Everything by which the person could be found.
fn needles_of(tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<Needles> {
    let mut needles = Needles::new();
    let sql = "SELECT id, name FROM persons WHERE seq = ?1";
    let (id, name): (String, String) = tx.query_row(sql, [seq], |r| Ok((r.get(0)?, r.get(1)?)))?;
    needles.add_name(&id);
    needles.add_name(&name);
    let mut statement = tx.prepare(
        "SELECT embedding, sha256, crops.png, loose_crops.png, points FROM samples \
         LEFT JOIN crops ON crops.sample = id LEFT JOIN loose_crops ON loose_crops.sample = id \
         WHERE person = ?1",
    )?;
    let mut rows = statement.query(params![seq])?;
    while let Some(row) = rows.next()? {
        for column in 0..5 {
            needles.add(row.get_ref(column)?.as_bytes_or_null()?.unwrap_or_default());
        }
    }
    Ok(needles)
}
