//! Whole galleries: copied at one moment, and put in the place of another's contents.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

use super::people::audit;
use super::{NOW, Store};
use crate::gallery::GalleryError;

impl Store {
    /// Writes what the gallery holds at this moment to an empty or missing file at `target`, and
    /// nothing of what was removed from it. Others go on reading and writing meanwhile.
    pub(in crate::gallery) fn copy_to(&self, target: &Path) -> Result<(), GalleryError> {
        let copied = match target.to_str() {
            Some(target) => self.conn.execute("VACUUM INTO ?1", [target]).map(drop),
            None => Err(rusqlite::Error::InvalidPath(target.into())),
        };
        copied.map_err(|e| self.error("copy", e))
    }

    /// Puts the contents of the gallery file `from`, which has the same schema, in the place of
    /// these: one transaction, so that every reader sees the one or the other, and a killed
    /// process leaves the old. The generation grows, whatever that of `from` was.
    pub(in crate::gallery) fn replace_by(&mut self, from: &Path) -> Result<(), GalleryError> {
        let Some(from) = from.to_str() else {
            return Err(self.error("copy", rusqlite::Error::InvalidPath(from.into())));
        };
        let attached = self.conn.execute("ATTACH ?1 AS other", [from]);
        attached.map_err(|e| self.error("read", e))?;
        let replaced = self.write_in("restore", false, replace_all);
        let detached = self.conn.execute_batch("DETACH other");
        replaced?;
        detached.map_err(|e| self.error("read", e))
    }

    /// Drops what is still to be searched for in this file, which is a copy of the one it is about.
    pub(in crate::gallery) fn drop_forgetting(&mut self) -> Result<(), GalleryError> {
        self.write("write", |tx| tx.execute("DELETE FROM forgetting", []).map(drop))
    }

    /// UTC, e.g. `2026-11-22T09:30:00.000Z`.
    pub(in crate::gallery) fn now(&self) -> Result<String, GalleryError> {
        let sql = format!("SELECT {NOW}");
        self.conn.query_row(&sql, [], |r| r.get(0)).map_err(|e| self.error("read", e))
    }
}

fn replace_all(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let generation = |schema: &str| -> rusqlite::Result<i64> {
        let sql = format!("SELECT generation FROM {schema}.meta WHERE id = 1");
        tx.query_row(&sql, [], |r| r.get(0))
    };
    let next = generation("main")?.max(generation("other")?).saturating_add(1);
    // References are checked at the end: the order of the tables does not matter.
    tx.pragma_update(None, "defer_foreign_keys", true)?;
    let tables = tables(tx)?;
    for table in &tables {
        tx.execute(&format!("DELETE FROM main.{table}"), [])?;
    }
    for table in &tables {
        // By name: a file that was upgraded may have its columns in another order.
        let columns = columns(tx, table)?.join(", ");
        let sql =
            format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM other.{table}");
        tx.execute(&sql, [])?;
    }
    // Whoever has an earlier generation reads everything again, whatever was removed before.
    tx.execute("DELETE FROM main.removed", [])?;
    let sql = "UPDATE main.meta SET generation = ?1, rewritten = ?1 WHERE id = 1";
    tx.execute(sql, params![next])?;
    let sql = "SELECT count(*) FROM main.persons";
    let people: u32 = tx.query_row(sql, [], |r| r.get(0))?;
    audit(tx, "restore", None, people as usize)
}

/// The tables of what a gallery holds: not SQLite's own, and not what belongs to the file, the log
/// of what was done to it and what may still be found in it. Their names are this program's.
fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' \
         AND name NOT LIKE 'sqlite_%' AND name NOT IN ('audit', 'forgetting')";
    let mut statement = conn.prepare(sql)?;
    let names = statement.query_map([], |r| r.get(0))?;
    names.collect()
}

fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM pragma_table_info(?1, 'main')")?;
    let names = statement.query_map([table], |r| r.get(0))?;
    names.collect()
}
