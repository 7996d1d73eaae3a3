//! What is looked at: a file, a decoded picture, or a frame that belongs to somebody else.

use std::path::{Path, PathBuf};

use crate::frame::FrameView;
use crate::picture::{Picture, PictureError};

/// A picture to look at. Files are read when it is their turn, so that a batch of a million paths
/// needs no more memory than one of ten.
#[derive(Clone, Debug)]
pub enum Image<'a> {
    /// A JPEG, PNG, BMP or WebP file.
    Path(PathBuf),
    Picture(Picture),
    /// Borrowed pixels.
    Frame(FrameView<'a>),
}

impl Image<'_> {
    /// Where it comes from: the path of a file, else nothing.
    pub(super) fn source(&self) -> String {
        match self {
            Image::Path(path) => path.display().to_string(),
            Image::Picture(_) | Image::Frame(_) => String::new(),
        }
    }

    /// Shows the decoded picture to `look`.
    pub(super) fn show<T, E: From<PictureError>>(
        &self,
        look: impl FnOnce(&FrameView<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Image::Path(path) => look(&Picture::open(path)?.view()),
            Image::Picture(picture) => look(&picture.view()),
            Image::Frame(frame) => look(frame),
        }
    }
}

impl From<PathBuf> for Image<'_> {
    fn from(path: PathBuf) -> Self {
        Image::Path(path)
    }
}

impl From<&Path> for Image<'_> {
    fn from(path: &Path) -> Self {
        Image::Path(path.to_owned())
    }
}

impl From<&str> for Image<'_> {
    /// A path.
    fn from(path: &str) -> Self {
        Image::Path(path.into())
    }
}

impl From<Picture> for Image<'_> {
    fn from(picture: Picture) -> Self {
        Image::Picture(picture)
    }
}

impl<'a> From<&'a Picture> for Image<'a> {
    fn from(picture: &'a Picture) -> Self {
        Image::Frame(picture.view())
    }
}

impl<'a> From<FrameView<'a>> for Image<'a> {
    fn from(frame: FrameView<'a>) -> Self {
        Image::Frame(frame)
    }
}
