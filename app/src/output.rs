//! Files that appear whole or not at all: written beside the target under another name, flushed
//! to the disk and renamed at the end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempPath};

use crate::error::AnalyzeError;

/// A file under way to `target`. Dropped without [`PendingFile::commit`], it leaves nothing.
#[derive(Debug)]
pub struct PendingFile {
    target: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Beside(BufWriter<NamedTempFile>),
    /// Pipes and devices such as /dev/stdout cannot be replaced: they are written directly.
    Direct(BufWriter<File>),
}

impl PendingFile {
    /// Starts a file that will be called `target`. Pipes and devices are written directly.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub fn create(target: &Path) -> Result<Self, AnalyzeError> {
        let target = final_path(target)?;
        let special = std::fs::metadata(&target).is_ok_and(|m| !m.is_file());
        let sink = if special {
            let file = File::options().write(true).open(&target);
            Sink::Direct(BufWriter::new(file.map_err(|e| AnalyzeError::write(&target, e))?))
        } else {
            Sink::Beside(BufWriter::new(temp_beside(&target)?))
        };
        Ok(Self { target, sink })
    }

    /// What the content is written to.
    pub fn writer(&mut self) -> &mut dyn Write {
        match &mut self.sink {
            Sink::Beside(file) => file,
            Sink::Direct(file) => file,
        }
    }

    /// Writes `line` and a line end.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_line(&mut self, line: &[u8]) -> Result<(), AnalyzeError> {
        self.write(line)?;
        self.write(b"\n")
    }

    /// Writes some bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), AnalyzeError> {
        let written = self.writer().write_all(bytes);
        written.map_err(|e| AnalyzeError::write(&self.target, e))
    }

    /// Replaces every line by what `change` makes of it. A pipe keeps what it was given.
    pub(crate) fn rewrite_lines(
        &mut self,
        mut change: impl FnMut(&str) -> io::Result<Vec<u8>>,
    ) -> Result<(), AnalyzeError> {
        let Sink::Beside(old) = &mut self.sink else {
            return Ok(());
        };
        let mut new = BufWriter::new(temp_beside(&self.target)?);
        let mut copy = || -> io::Result<()> {
            old.flush()?;
            let file = old.get_mut().as_file_mut();
            file.seek(SeekFrom::Start(0))?;
            for line in BufReader::new(file).lines() {
                new.write_all(&change(&line?)?)?;
                new.write_all(b"\n")?;
            }
            Ok(())
        };
        copy().map_err(|e| AnalyzeError::write(&self.target, e))?;
        self.sink = Sink::Beside(new);
        Ok(())
    }

    /// Makes the file appear under its name, in place of any other.
    ///
    /// # Errors
    /// If it cannot be written to its end or take its name.
    pub fn commit(self) -> Result<(), AnalyzeError> {
        let fail = |e| AnalyzeError::write(&self.target, e);
        match self.sink {
            Sink::Beside(file) => {
                let file = file.into_inner().map_err(|e| fail(e.into_error()))?;
                publish(file.into_temp_path(), &self.target)
            }
            Sink::Direct(mut file) => file.flush().map_err(fail),
        }
    }
}

/// A file under way that somebody else writes, by its path.
#[derive(Debug)]
pub(crate) struct PendingPath {
    target: PathBuf,
    temp: TempPath,
    /// For what the writer keeps aside until the end.
    spool: TempPath,
}

impl PendingPath {
    pub(crate) fn create(target: &Path) -> Result<Self, AnalyzeError> {
        let target = final_path(target)?;
        if std::fs::metadata(&target).is_ok_and(|m| !m.is_file()) {
            let reason = "it is not a regular file".to_owned();
            return Err(AnalyzeError::Target { path: target, reason });
        }
        let temp = temp_beside(&target)?.into_temp_path();
        let spool = temp_beside(&target)?.into_temp_path();
        Ok(Self { target, temp, spool })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.temp
    }

    pub(crate) fn spool(&self) -> &Path {
        &self.spool
    }

    pub(crate) fn commit(self) -> Result<(), AnalyzeError> {
        publish(self.temp, &self.target)
    }
}

fn publish(temp: TempPath, target: &Path) -> Result<(), AnalyzeError> {
    let fail = |e| AnalyzeError::write(target, e);
    File::open(&temp).and_then(|f| f.sync_all()).map_err(fail)?;
    temp.persist(target).map_err(|e| fail(e.error))?;
    // The new name is safe once its folder is on the disk.
    let folder = target.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|f| f.sync_all()).map_err(fail)
}

fn temp_beside(target: &Path) -> Result<NamedTempFile, AnalyzeError> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".part")
        .permissions(new_file_permissions())
        .tempfile_in(folder)
        .map_err(|e| AnalyzeError::write(target, e))
}

/// Those of a file that any program makes; the process's umask applies.
fn new_file_permissions() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o666)
}

/// The absolute path of a file that may not be there yet, links followed.
pub(crate) fn final_path(path: &Path) -> Result<PathBuf, AnalyzeError> {
    if let Ok(path) = path.canonicalize() {
        return if path.is_dir() {
            Err(AnalyzeError::Target { path, reason: "it is a folder".to_owned() })
        } else {
            Ok(path)
        };
    }
    let name = path.file_name().ok_or_else(|| AnalyzeError::Target {
        path: path.to_owned(),
        reason: "it has no file name".to_owned(),
    })?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| AnalyzeError::write(path, e))?;
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn dropped_file_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.json");
        std::fs::write(&target, "old").unwrap();
        let mut file = PendingFile::create(&target).unwrap();
        file.write_line(b"new").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(file);
        assert_eq!(names(folder.path()), ["a.json"]);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
    }

    #[test]
    fn committed_file_replaces_the_target_of_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("a.json"), folder.path().join("link"));
        std::fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink("a.json", &link).unwrap();
        let mut file = PendingFile::create(&link).unwrap();
        file.write_line(b"new").unwrap();
        file.commit().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "new\n");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn lines_are_rewritten_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.jsonl");
        let mut file = PendingFile::create(&target).unwrap();
        for line in [b"1", b"2", b"3"] {
            file.write_line(line).unwrap();
        }
        file.rewrite_lines(|line| Ok(format!("<{line}>").into_bytes())).unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "<1>\n<2>\n<3>\n");
        assert_eq!(names(folder.path()), ["a.jsonl"]);
    }

    #[test]
    fn folders_and_missing_folders_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = PendingFile::create(folder.path()).unwrap_err().to_string();
        assert!(text.contains(folder.path().file_name().unwrap().to_str().unwrap()), "{text}");
        assert!(text.contains("folder"), "{text}");
        let missing = folder.path().join("missing/a.json");
        let text = PendingPath::create(&missing).unwrap_err().to_string();
        assert!(text.contains("missing/a.json"), "{text}");
    }
}
