//! What is done to people and samples that are there already.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postgres::Row;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Fault, GalleryError, Moment, NOW, New, NewSample, Store};
use crate::gallery::{AuditEntry, Forgotten, Merged, Person, StoredSample};

/// What a person is read as; [`person`] takes the columns in this order. Seconds and milliseconds
/// apart: the one product would be rounded.
fn person_sql(table: &str) -> String {
    format!(
        "SELECT id, name, attributes, threshold, created, updated, \
         (SELECT count(*) FROM {table} e WHERE e.person = seq AND NOT e.negative), \
         (SELECT count(*) FROM {table} e WHERE e.person = seq AND e.negative), \
         to_char(timestamp 'epoch' + (expires / 1000) * interval '1 second' \
         + (expires % 1000) * interval '1 millisecond', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
         coalesce(expires <= $1, false) FROM persons"
    )
}

fn person(row: &Row) -> Result<Person, Fault> {
    let attributes: &str = row.try_get(2)?;
    let count =
        |column| row.try_get::<_, i64>(column).map(|c| u32::try_from(c).unwrap_or(u32::MAX));
    Ok(Person {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        // Written by this program, and shown only: what somebody else made of it is no reason to
        // hide the person.
        attributes: serde_json::from_str(attributes).unwrap_or_else(|_| attributes.into()),
        threshold: row.try_get(3)?,
        created: row.try_get(4)?,
        updated: row.try_get(5)?,
        samples: count(6)?,
        negatives: count(7)?,
        expires: row.try_get(8)?,
        expired: row.try_get(9)?,
    })
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn touch(moment: &mut Moment<'_>, seq: i64) -> Result<(), Fault> {
    let sql = format!("UPDATE persons SET updated = {NOW} WHERE seq = $1");
    moment.tx.execute(&sql, &[&seq])?;
    Ok(())
}

pub(super) fn add_new(
    moment: &mut Moment<'_>,
    person: i64,
    sample: &NewSample,
    negative: bool,
) -> Result<bool, Fault> {
    let new = New {
        embedding: &sample.embedding.to_bytes(),
        crop_png: sample.crop_png.as_deref(),
        loose: sample.loose.as_ref(),
        source: &sample.source,
        negative,
        created: None,
    };
    moment.add(person, &new)
}

/// The row of the person with this id.
pub(super) fn seq_of(moment: &mut Moment<'_>, id: &str) -> Result<Option<i64>, Fault> {
    let row = moment.tx.query_opt("SELECT seq FROM persons WHERE id = $1", &[&id])?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Notes numbers of people or of samples as gone.
fn bury(moment: &mut Moment<'_>, person: bool, numbers: &[i64]) -> Result<(), Fault> {
    let sql = "INSERT INTO gone (generation, person, number) SELECT $1, $2, unnest($3::bigint[])";
    moment.tx.execute(sql, &[&moment.next(), &person, &numbers])?;
    moment.changed = true;
    Ok(())
}

/// Deletes a person with all samples; the number of those in use.
fn delete(moment: &mut Moment<'_>, seq: i64) -> Result<usize, Fault> {
    let sql = format!("SELECT count(*) FROM {} WHERE person = $1", moment.table());
    let count: i64 = moment.tx.query_one(&sql, &[&seq])?.try_get(0)?;
    moment.tx.execute("DELETE FROM persons WHERE seq = $1", &[&seq])?;
    bury(moment, true, &[seq])?;
    Ok(count as usize)
}

impl Store {
    fn people(&self, rest: &str, parameter: Option<&str>) -> Result<Vec<Person>, GalleryError> {
        self.read(false, |moment| {
            let sql = format!("{} {rest}", person_sql(&moment.table()));
            let rows = match parameter {
                Some(value) => moment.tx.query(&sql, &[&now(), &value])?,
                None => moment.tx.query(&sql, &[&now()])?,
            };
            rows.iter().map(person).collect()
        })
    }

    /// Everybody, in the order of their enrolment.
    pub(in crate::gallery) fn persons(&self) -> Result<Vec<Person>, GalleryError> {
        self.people("ORDER BY seq", None)
    }

    /// The person with this id, else the one of this name.
    pub(in crate::gallery) fn find(&self, who: &str) -> Result<Option<Person>, GalleryError> {
        if who.contains('\0') {
            return Ok(None);
        }
        // An id first: somebody else's id as a name must not stand before its owner.
        let rest = "WHERE id = $2 OR name = $2 ORDER BY id <> $2 LIMIT 1";
        Ok(self.people(rest, Some(who))?.pop())
    }

    fn no_such_person(&self, id: &str) -> GalleryError {
        GalleryError::NoSuchPerson { path: self.path().into(), id: id.into() }
    }

    /// Runs `body` on the row of a person.
    fn change<T>(
        &mut self,
        op: &'static str,
        id: &str,
        body: impl FnOnce(&mut Moment<'_>, i64) -> Result<T, Fault>,
    ) -> Result<T, GalleryError> {
        if id.contains('\0') {
            return Err(self.no_such_person(id));
        }
        self.write(op, |moment| match seq_of(moment, id)? {
            Some(seq) => body(moment, seq),
            None => Err(self.no_such_person(id).into()),
        })
    }

    /// Changes something that readers keep of a person.
    fn change_person(
        &mut self,
        id: &str,
        what: &'static str,
        set: &str,
        value: &(dyn postgres::types::ToSql + Sync),
    ) -> Result<(), GalleryError> {
        self.change("write", id, |moment, seq| {
            let next = moment.next();
            let sql = format!("UPDATE persons SET {set} = $1, generation = $2 WHERE seq = $3");
            moment.tx.execute(&sql, &[value, &next, &seq])?;
            moment.changed = true;
            touch(moment, seq)?;
            moment.audit(what, Some(id), 1)
        })
    }

    /// Gives a person a checked name.
    pub(in crate::gallery) fn rename(&mut self, id: &str, name: &str) -> Result<(), GalleryError> {
        let taken = GalleryError::NameTaken { path: self.path().into(), name: name.into() };
        self.change("write", id, |moment, seq| {
            let sql = "SELECT 1 FROM persons WHERE name = $1 AND seq <> $2";
            if moment.tx.query_opt(sql, &[&name, &seq])?.is_some() {
                return Err(taken.into());
            }
            let next = moment.next();
            let sql = "UPDATE persons SET name = $1, generation = $2 WHERE seq = $3";
            moment.tx.execute(sql, &[&name, &next, &seq])?;
            moment.changed = true;
            touch(moment, seq)?;
            moment.audit("rename", Some(id), 1)
        })
    }

    /// Moves all samples of one person to another and removes the first.
    pub(in crate::gallery) fn merge(
        &mut self,
        from: &str,
        into: &str,
    ) -> Result<Merged, GalleryError> {
        if from == into {
            return Err(GalleryError::SamePerson { path: self.path().into(), id: from.into() });
        }
        let missing = self.no_such_person(from);
        self.change("write", into, |moment, target| {
            let Some(source) = seq_of(moment, from)? else { return Err(missing.into()) };
            let merged = move_samples(moment, source, target)?;
            merge_attributes(moment, source, target)?;
            moment.tx.execute("DELETE FROM persons WHERE seq = $1", &[&source])?;
            bury(moment, true, &[source])?;
            let sql = "UPDATE audit SET person = $2 WHERE person = $1";
            moment.tx.execute(sql, &[&from, &into])?;
            touch(moment, target)?;
            moment.audit("merge", Some(into), merged.moved as u64)?;
            Ok(merged)
        })
    }

    /// Removes a person with all samples; their number.
    pub(in crate::gallery) fn remove_person(&mut self, id: &str) -> Result<usize, GalleryError> {
        self.change("write", id, |moment, seq| {
            let count = delete(moment, seq)?;
            moment.audit("remove", Some(id), count as u64)?;
            Ok(count)
        })
    }

    /// Deletes a person and what the audit log has of them. What the server keeps of deleted rows,
    /// in its files, logs, replicas and backups, cannot be seen from here. `also` cannot be
    /// searched either: there is nothing left to search for.
    pub(in crate::gallery) fn forget(
        &mut self,
        who: Option<&str>,
        also: &[PathBuf],
        _wait: Duration,
    ) -> Result<Forgotten, GalleryError> {
        if !also.is_empty() {
            return Err(self.unsupported(
                "search files in",
                "forget the person without naming files, and search these by other means",
            ));
        }
        let Some(who) = who else {
            return Ok(Forgotten { samples: 0, elsewhere: 0, on_server: true });
        };
        let Some(person) = self.find(who)? else { return Err(self.no_such_person(who)) };
        let samples = self.change("forget in", &person.id, |moment, seq| {
            let count = delete(moment, seq)?;
            moment.tx.execute("DELETE FROM audit WHERE person = $1", &[&person.id])?;
            moment.audit("forget", None, count as u64)?;
            Ok(count)
        })?;
        let has = |text: &str| text.to_lowercase().contains(&person.name.to_lowercase());
        let elsewhere = self.persons()?;
        let elsewhere =
            elsewhere.iter().filter(|p| has(&p.name) || has(&p.attributes.to_string())).count();
        Ok(Forgotten { samples, elsewhere, on_server: true })
    }

    /// What has no meaning here, and what there is instead.
    pub(in crate::gallery) fn unsupported(
        &self,
        op: &'static str,
        instead: &'static str,
    ) -> GalleryError {
        GalleryError::OnServer { op, path: self.path().into(), instead }
    }

    /// Removes one sample; the person's id.
    pub(in crate::gallery) fn remove_sample(
        &mut self,
        sample: i64,
    ) -> Result<String, GalleryError> {
        self.change_sample(sample, "remove-sample", |moment| {
            moment.tx.execute("DELETE FROM samples WHERE id = $1", &[&sample])?;
            bury(moment, false, &[sample])
        })
    }

    /// Makes a sample a negative one of its person; the person's id.
    pub(in crate::gallery) fn reject_sample(
        &mut self,
        sample: i64,
    ) -> Result<String, GalleryError> {
        self.change_sample(sample, "reject", |moment| turn_negative(moment, sample))
    }

    /// Stores a negative sample of a person; false if it was there already.
    pub(in crate::gallery) fn reject(
        &mut self,
        id: &str,
        sample: &NewSample,
    ) -> Result<bool, GalleryError> {
        self.change("write", id, |moment, seq| {
            let sha256 = Sha256::digest(sample.embedding.to_bytes());
            let sql = format!(
                "SELECT sample, negative FROM {} WHERE person = $1 AND sha256 = $2",
                moment.table()
            );
            let found = moment.tx.query_opt(&sql, &[&seq, &sha256.as_slice()])?;
            let new = match found {
                Some(row) if row.try_get(1)? => false,
                Some(row) => {
                    turn_negative(moment, row.try_get(0)?)?;
                    true
                }
                None => add_new(moment, seq, sample, true)?,
            };
            if new {
                touch(moment, seq)?;
                moment.audit("reject", Some(id), 1)?;
            }
            Ok(new)
        })
    }

    fn change_sample(
        &mut self,
        sample: i64,
        what: &'static str,
        body: impl FnOnce(&mut Moment<'_>) -> Result<(), Fault>,
    ) -> Result<String, GalleryError> {
        let path = self.path().to_path_buf();
        self.write("write", |moment| {
            let sql = format!(
                "SELECT p.seq, p.id FROM {} e JOIN persons p ON p.seq = e.person \
                 WHERE e.sample = $1",
                moment.table()
            );
            let Some(owner) = moment.tx.query_opt(&sql, &[&sample])? else {
                return Err(GalleryError::NoSuchSample { path, sample }.into());
            };
            let (seq, id): (i64, String) = (owner.try_get(0)?, owner.try_get(1)?);
            body(moment)?;
            touch(moment, seq)?;
            moment.audit(what, Some(&id), 1)?;
            Ok(id)
        })
    }

    /// Sets or removes a person's own threshold.
    pub(in crate::gallery) fn set_threshold(
        &mut self,
        id: &str,
        threshold: Option<f32>,
    ) -> Result<(), GalleryError> {
        self.change_person(id, "set-threshold", "threshold", &threshold)
    }

    /// Sets or removes the moment, in milliseconds since 1970, from which a person is not matched.
    pub(in crate::gallery) fn set_expiry(
        &mut self,
        id: &str,
        expires: Option<i64>,
    ) -> Result<(), GalleryError> {
        self.change_person(id, "set-expiry", "expires", &expires)
    }

    /// Replaces what else is known of a person.
    pub(in crate::gallery) fn set_attributes(
        &mut self,
        id: &str,
        attributes: &str,
    ) -> Result<(), GalleryError> {
        self.change_person(id, "set-attributes", "attributes", &attributes)
    }

    /// People who expired at `now`, milliseconds since 1970, or before.
    pub(in crate::gallery) fn expired(&self, now: i64) -> Result<Vec<Person>, GalleryError> {
        self.read(false, |moment| {
            let table = moment.table();
            let sql = format!("{} WHERE expires <= $1 ORDER BY seq", person_sql(&table));
            moment.tx.query(&sql, &[&now])?.iter().map(person).collect()
        })
    }

    /// Removes everybody; how many they were.
    pub(in crate::gallery) fn clear(&mut self) -> Result<usize, GalleryError> {
        self.write("write", |moment| {
            let count = moment.tx.execute("DELETE FROM persons", &[])?;
            moment.tx.execute("DELETE FROM gone", &[])?;
            let next = moment.next();
            moment.tx.execute("UPDATE meta SET rewritten = $1", &[&next])?;
            moment.changed = true;
            moment.audit("clear", None, count)?;
            Ok(count as usize)
        })
    }

    /// The samples of a person, oldest first.
    pub(in crate::gallery) fn samples_of(
        &self,
        id: &str,
    ) -> Result<Vec<StoredSample>, GalleryError> {
        self.read(false, |moment| {
            let sql = format!(
                "SELECT s.id, s.negative, s.source, s.created, \
                 EXISTS (SELECT 1 FROM aligned_crops c WHERE c.sample = s.id), \
                 EXISTS (SELECT 1 FROM loose_crops c WHERE c.sample = s.id) \
                 FROM samples s JOIN {} e ON e.sample = s.id JOIN persons p ON p.seq = s.person \
                 WHERE p.id = $1 ORDER BY s.id",
                moment.table()
            );
            let sample = |r: &Row| -> Result<StoredSample, Fault> {
                Ok(StoredSample {
                    id: r.try_get(0)?,
                    negative: r.try_get(1)?,
                    source: r.try_get(2)?,
                    created: r.try_get(3)?,
                    crop: r.try_get(4)?,
                    loose: r.try_get(5)?,
                })
            };
            moment.tx.query(&sql, &[&id])?.iter().map(sample).collect()
        })
    }

    /// The last `most` entries of the audit log, oldest first; all people's or one person's.
    pub(in crate::gallery) fn audit_log(
        &self,
        person: Option<&str>,
        most: u32,
    ) -> Result<Vec<AuditEntry>, GalleryError> {
        self.read(false, |moment| {
            let sql = "SELECT at, what, person, count FROM (SELECT * FROM audit \
                 WHERE $1::text IS NULL OR person = $1 ORDER BY id DESC LIMIT $2) a ORDER BY id";
            let entry = |r: &Row| -> Result<AuditEntry, Fault> {
                Ok(AuditEntry {
                    at: r.try_get(0)?,
                    what: r.try_get(1)?,
                    person_id: r.try_get(2)?,
                    count: u32::try_from(r.try_get::<_, i64>(3)?).unwrap_or(u32::MAX),
                })
            };
            let most = i64::from(most);
            moment.tx.query(sql, &[&person, &most])?.iter().map(entry).collect()
        })
    }
}

fn turn_negative(moment: &mut Moment<'_>, sample: i64) -> Result<(), Fault> {
    let next = moment.next();
    let sql = "UPDATE samples SET negative = TRUE, generation = $1 WHERE id = $2";
    moment.tx.execute(sql, &[&next, &sample])?;
    moment.changed = true;
    Ok(())
}

fn move_samples(moment: &mut Moment<'_>, source: i64, target: i64) -> Result<Merged, Fault> {
    let table = moment.table();
    let both = [source, target];
    let mut removed: Vec<i64> = Vec::new();
    let mut remove = |moment: &mut Moment<'_>, sql: String| -> Result<usize, Fault> {
        let rows = moment.tx.query(&sql, &[&&both[..]])?;
        let ids = rows.iter().map(|r| r.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        moment.tx.execute("DELETE FROM samples WHERE id = ANY($1)", &[&ids])?;
        removed.extend(&ids);
        Ok(ids.len())
    };
    // One of the two said "not this person" of a picture of the other: now it is.
    let contradicted = format!(
        "SELECT n.sample FROM {table} n WHERE n.person = ANY($1) AND n.negative AND EXISTS \
         (SELECT 1 FROM {table} p WHERE p.person = ANY($1) AND NOT p.negative \
         AND p.sha256 = n.sha256)"
    );
    remove(moment, contradicted)?;
    let doubled = format!(
        "SELECT s.sample FROM {table} s JOIN {table} t ON t.sha256 = s.sha256 \
         WHERE s.person = ($1::bigint[])[1] AND t.person = ($1::bigint[])[2]"
    );
    let duplicates = remove(moment, doubled)?;
    // In the space that a roll-back returns to, or that a migration fills, others may be the same.
    let sql = "SELECT id FROM spaces WHERE id <> $1";
    for space in moment.tx.query(sql, &[&moment.space])? {
        let other = super::table(space.try_get(0)?);
        let sql = format!(
            "DELETE FROM {other} s USING {other} t \
             WHERE t.sha256 = s.sha256 AND s.person = $1 AND t.person = $2"
        );
        moment.tx.execute(&sql, &[&source, &target])?;
    }
    bury(moment, false, &removed)?;
    let sql = format!("SELECT count(*) FROM {table} WHERE person = $1");
    let moved: i64 = moment.tx.query_one(&sql, &[&source])?.try_get(0)?;
    let next = moment.next();
    let sql = "UPDATE samples SET person = $2, generation = $3 WHERE person = $1";
    moment.tx.execute(sql, &[&source, &target, &next])?;
    Ok(Merged { moved: moved as usize, duplicates })
}

/// What both know of themselves is as the remaining person has it.
fn merge_attributes(moment: &mut Moment<'_>, source: i64, target: i64) -> Result<(), Fault> {
    let mut of = |seq: i64| -> Result<Value, Fault> {
        let sql = "SELECT attributes FROM persons WHERE seq = $1";
        let row = moment.tx.query_one(sql, &[&seq])?;
        Ok(serde_json::from_str(row.try_get(0)?)
            .unwrap_or_else(|_| Value::Object(serde_json::Map::new())))
    };
    let (mut merged, patch) = (of(source)?, of(target)?);
    apply_patch(&mut merged, patch);
    let sql = "UPDATE persons SET attributes = $1 WHERE seq = $2";
    moment.tx.execute(sql, &[&merged.to_string(), &target])?;
    Ok(())
}

/// JSON Merge Patch (RFC 7396), as the file's `json_patch`.
fn apply_patch(value: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (key, new) in patch {
        if new.is_null() {
            fields.remove(&key);
        } else {
            apply_patch(fields.entry(key).or_insert(Value::Null), new);
        }
    }
}
