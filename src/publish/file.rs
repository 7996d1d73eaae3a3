//! JSON Lines in a file that does not grow without end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// When a file is put aside, and how many are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file has at most; 0: any number. One line that is longer has a file of its own.
    pub max_bytes: u64,
    /// Files that were put aside, `NAME.1` the newest; older ones are removed.
    pub keep: u32,
}

/// Why a line is not in the file. What was in it before is whole.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    #[error("cannot open '{}'", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot write to '{}'", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot put '{}' aside", path.display())]
    Rotate { path: PathBuf, source: io::Error },
}

/// A file that lines are appended to, whole or not at all. It is made for its owner only.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    rotation: Rotation,
    /// `None` after an error; it is opened again for the next line.
    file: Option<File>,
    size: u64,
}

impl JsonLines {
    /// Opens the file, or makes it; what is there stays. A line that a killed process left unfinished
    /// is ended.
    ///
    /// # Errors
    /// [`LinesError::Open`], [`LinesError::Write`].
    pub fn open(path: &Path, rotation: Rotation) -> Result<Self, LinesError> {
        let mut lines = Self { path: path.to_owned(), rotation, file: None, size: 0 };
        lines.reopen()?;
        Ok(lines)
    }

    fn reopen(&mut self) -> Result<(), LinesError> {
        let failed = |source| LinesError::Open { path: self.path.clone(), source };
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true).mode(0o600);
        let mut file = options.open(&self.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        self.size = metadata.len();
        // What is no file of bytes, such as a named pipe, has no last one.
        if metadata.is_file() && self.size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            if last != *b"\n" {
                let failed = |source| LinesError::Write { path: self.path.clone(), source };
                file.write_all(b"\n").map_err(failed)?;
                self.size += 1;
            }
        }
        self.file = Some(file);
        Ok(())
    }

    /// Appends a line; `line` has no line break.
    ///
    /// # Errors
    /// [`LinesError`]. The next line may be written again: a full disk can be cleared.
    pub fn write(&mut self, line: &str) -> Result<(), LinesError> {
        let bytes = [line.as_bytes(), b"\n"].concat();
        let length = bytes.len() as u64;
        let most = self.rotation.max_bytes;
        if most > 0 && self.size > 0 && self.size.saturating_add(length) > most {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        let result = file.write_all(&bytes);
        if let Err(source) = result {
            // Half a line would spoil the next one.
            let _ = file.set_len(self.size);
            self.file = None;
            return Err(LinesError::Write { path: self.path.clone(), source });
        }
        self.size = self.size.saturating_add(length);
        Ok(())
    }

    /// Puts the file aside: `NAME.1` becomes `NAME.2` and so on.
    fn rotate(&mut self) -> Result<(), LinesError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LinesError::Rotate { path, source }
        };
        self.file = None;
        for number in (1..self.rotation.keep).rev() {
            let from = self.aside(number);
            match std::fs::rename(&from, self.aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&from)(error));
                }
                _ => {}
            }
        }
        let moved = match self.rotation.keep {
            0 => std::fs::remove_file(&self.path),
            _ => std::fs::rename(&self.path, self.aside(1)),
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&self.path)(error)),
            // Somebody took it away: then there is nothing to put aside.
            _ => self.reopen(),
        }
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_are_appended_and_an_unfinished_one_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faces.jsonl");
        fs::write(&path, "{\"old\":1}\n{\"torn").unwrap();
        let mut lines = JsonLines::open(&path, Rotation::default()).unwrap();
        lines.write("{\"new\":2}").unwrap();
        drop(lines);
        JsonLines::open(&path, Rotation::default()).unwrap().write("3").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"old\":1}\n{\"torn\n{\"new\":2}\n3\n");
    }

    #[test]
    fn full_files_are_put_aside_and_old_ones_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faces.jsonl");
        let rotation = Rotation { max_bytes: 20, keep: 2 };
        let mut lines = JsonLines::open(&path, rotation).unwrap();
        for nth in 0..10 {
            lines.write(&format!("line {nth:03}")).unwrap();
        }
        lines.write(&"x".repeat(50)).unwrap();
        lines.write("last").unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("faces.jsonl"), "last\n");
        assert_eq!(read("faces.jsonl.1"), "x".repeat(50) + "\n");
        assert_eq!(read("faces.jsonl.2"), "line 008\nline 009\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "it names people");

        let mut lines = JsonLines::open(&path, Rotation { max_bytes: 6, keep: 0 }).unwrap();
        lines.write("alone").unwrap();
        assert_eq!(read("faces.jsonl"), "alone\n");
    }

    #[test]
    fn folder_that_is_away_is_told_and_its_return_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        let path = inner.join("faces.jsonl");
        let error = JsonLines::open(&path, Rotation::default()).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        fs::create_dir(&inner).unwrap();
        let mut lines = JsonLines::open(&path, Rotation { max_bytes: 4, keep: 1 }).unwrap();
        lines.write("one").unwrap();
        fs::remove_dir_all(&inner).unwrap();
        assert!(lines.write("two").is_err());
        fs::create_dir(&inner).unwrap();
        lines.write("three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }
}
