//! The end of a clip: its files get their final form in the spool and are given to the outbox. What
//! is done here can be done again from the beginning after a crash at any moment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::key::Part;
use super::sidecar::{Frame, Sidecar, SidecarTrack, Snapshot};
use super::spool::{ClipSpool, OpenClip, Piece, SpoolError, Stage, remove_file};
use crate::model;
use crate::outbox::{Entry, EntryId, Object, Outbox, OutboxError};

/// Embeddings of one track that are kept in the sidecar, if they are kept at all.
const MOST_EMBEDDINGS: usize = 64;

/// Why a clip could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("its video is on the way, what belongs to it is not")]
    Partly(#[source] OutboxError),
    #[error("the clip has no picture")]
    Empty,
    #[error("cannot write the sidecar of the clip as JSON")]
    Json(#[source] serde_json::Error),
}

/// A complete clip, on its way to the storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Spooled {
    /// Key of its video.
    pub key: String,
    /// Entry of the outbox that stores the video.
    pub entry: EntryId,
    /// Bytes and checksum of the video.
    pub bytes: u64,
    pub sha256: String,
}

/// Completes a clip whose whole video lies at [`Piece::Whole`]: fills in what is known only now,
/// moves its files to where the outbox finds them, and gives them to it. When this returns all is on
/// the disk, and nothing else of the clip is left.
///
/// # Errors
/// [`FinishError`]. Everything stays, so that it can be tried again.
pub fn complete(
    own: &ClipSpool,
    clip: &mut OpenClip,
    snapshot: Option<&[u8]>,
    outbox: &Outbox,
) -> Result<Spooled, FinishError> {
    let id = clip.id().to_owned();
    let whole = own.piece(&id, Piece::Whole);
    let (bytes, sha256) = hashed(&whole).map_err(|e| SpoolError::io("read", &whole, e))?;
    let key = clip.key(Part::Original).ok_or(FinishError::Empty)?;
    if let Some(media) = &mut clip.sidecar.media {
        (media.bytes, media.sha256) = (bytes, sha256);
        media.key.clone_from(&key);
    }
    let ready = |part| own.spool().join(ClipSpool::ready(&id, part));
    if let (Some(jpeg), Some(key)) = (snapshot, clip.key(Part::Snapshot)) {
        let path = ready(Part::Snapshot);
        let written = own.write_whole(&path, &mut |file| file.write_all(jpeg));
        written.map_err(|e| SpoolError::io("write", &path, e))?;
        let shown = clip.sidecar.snapshot.get_or_insert_with(Snapshot::default);
        (shown.bytes, shown.sha256) = (jpeg.len() as u64, model::hex(&Sha256::digest(jpeg)));
        shown.key = key;
    } else {
        // One may be there of an attempt that a crash ended.
        remove_file(&ready(Part::Snapshot))?;
        clip.sidecar.snapshot = None;
    }
    write_sidecar(own, clip, &ready(Part::Sidecar))?;
    let video = ready(Part::Original);
    let moved = File::open(&whole)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&whole, &video))
        .and_then(|()| File::open(video.parent().unwrap_or(Path::new(".")))?.sync_all());
    moved.map_err(|e| SpoolError::io("move the clip to", &video, e))?;
    clip.stage = Stage::Ready;
    own.write(clip)?;
    resume(own, clip, outbox)
}

/// Gives the files of a complete clip to the outbox, those that it does not have yet.
///
/// # Errors
/// [`FinishError`]; the clip stays as it is.
pub fn resume(own: &ClipSpool, clip: &OpenClip, outbox: &Outbox) -> Result<Spooled, FinishError> {
    let id = clip.id();
    let key = clip.key(Part::Original).ok_or(FinishError::Empty)?;
    let entry = |part: Part| EntryId::new(&format!("clip-{id}-{}", part.as_str()));
    // The video first: if there is no room for it, nothing else of the clip is on its way.
    for part in [Part::Original, Part::Sidecar, Part::Snapshot] {
        let file = ClipSpool::ready(id, part);
        let key = clip.key(part).unwrap_or_default();
        // One that is gone was stored already.
        if own.spool().join(&file).exists() {
            let object = Object::new(file, &clip.storage, &key);
            let appended = outbox.append(Entry::new(object).with_id(entry(part)?));
            appended.map_err(|error| match part {
                Part::Original => FinishError::Outbox(error),
                _ => FinishError::Partly(error),
            })?;
        }
    }
    for follow_up in &clip.follow_ups {
        let message = Entry::new(follow_up.delivery.clone()).with_id(follow_up.id.clone());
        let appended = outbox.append(message.after(entry(Part::Original)?));
        appended.map_err(FinishError::Partly)?;
    }
    own.remove(id)?;
    let media = clip.sidecar.media.clone().unwrap_or_default();
    let (bytes, sha256) = (media.bytes, media.sha256);
    Ok(Spooled { key, entry: entry(Part::Original)?, bytes, sha256 })
}

/// Removes everything of a clip, also what is complete and not in the outbox.
///
/// # Errors
/// [`SpoolError::Io`].
pub fn discard(own: &ClipSpool, id: &str) -> Result<(), SpoolError> {
    for part in Part::ALL {
        remove_file(&own.spool().join(ClipSpool::ready(id, part)))?;
    }
    own.remove(id)
}

fn hashed(path: &Path) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let bytes = model::hash_into(&mut File::open(path)?, &mut hasher)?;
    Ok((bytes, model::hex(&hasher.finalize())))
}

/// Writes the sidecar with its frames, which are never all in memory.
fn write_sidecar(own: &ClipSpool, clip: &mut OpenClip, path: &Path) -> Result<(), FinishError> {
    let lines = own.piece(clip.id(), Piece::Lines);
    let until = clip.sidecar.duration_ns;
    let mut tracks = Tracks::default();
    each_frame(&lines, until, &mut |_, frame| {
        tracks.add(frame);
        Ok(())
    })?;
    clip.sidecar.tracks = tracks.finish();
    let head = Sidecar { frames: Vec::new(), ..clip.sidecar.clone() };
    let text = serde_json::to_string(&head).map_err(FinishError::Json)?;
    let failed = |e| FinishError::Spool(SpoolError::io("write", path, e));
    // The frames are the last field of the object.
    let open = text.strip_suffix('}').unwrap_or(&text);
    let mut unread = None;
    let written = own.write_whole(path, &mut |file| {
        write!(file, "{open},\"frames\":[")?;
        let mut first = true;
        let read = each_frame(&lines, until, &mut |line, _| {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            write!(file, "{comma}\n{line}")
        });
        if let Err(error) = read {
            unread = Some(error);
            return Err(io::Error::other("its frames cannot be read"));
        }
        writeln!(file, "\n]}}")
    });
    match unread {
        Some(error) => Err(error),
        None => written.map_err(failed),
    }
}

/// Reads the frames that lie within the clip. A line that was cut off, as by a crash, is the end.
fn each_frame(
    lines: &Path,
    until_ns: u64,
    visit: &mut dyn FnMut(&str, &Frame) -> io::Result<()>,
) -> Result<(), FinishError> {
    let failed = |e| FinishError::Spool(SpoolError::io("read", lines, e));
    let file = match File::open(lines) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(failed)?,
    };
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            return Ok(());
        }
        let Ok(line) = std::str::from_utf8(bytes.trim_ascii()) else { return Ok(()) };
        let Ok(frame) = serde_json::from_str::<Frame>(line) else { return Ok(()) };
        if frame.pts_ns <= until_ns {
            visit(line, &frame).map_err(failed)?;
        }
    }
}

/// From the faces of every frame to the tracks of the clip.
#[derive(Debug, Default)]
struct Tracks(BTreeMap<u64, SidecarTrack>);

impl Tracks {
    fn add(&mut self, frame: &Frame) {
        for face in frame.faces.iter().filter(|face| face.observed) {
            let Some(track_id) = face.track_id.filter(|id| *id != 0) else { continue };
            let track = self.0.entry(track_id).or_insert_with(|| SidecarTrack {
                track_id,
                first_offset_ns: frame.pts_ns,
                ..SidecarTrack::default()
            });
            track.last_offset_ns = frame.pts_ns;
            track.status.clone_from(&face.status);
            if face.name.is_some() || face.person_id.is_some() {
                track.name.clone_from(&face.name);
                track.person_id.clone_from(&face.person_id);
            }
            if face.similarity > track.similarity {
                track.similarity = face.similarity;
            }
            if track.embeddings.len() < MOST_EMBEDDINGS {
                track.embeddings.extend(face.embedding.clone());
            }
        }
    }

    fn finish(self) -> Vec<SidecarTrack> {
        let mut tracks: Vec<_> = self.0.into_values().collect();
        tracks.sort_by_key(|track| (track.first_offset_ns, track.track_id));
        tracks
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;
    use crate::clip::{Face, FollowUp, Media};
    use crate::outbox::{Address, Courier, Delivery, Limits, Message, Webhook};

    struct Scene {
        _folder: tempfile::TempDir,
        storage: PathBuf,
        own: ClipSpool,
        outbox: Outbox,
        clip: OpenClip,
    }

    fn frame(pts_ns: u64, track: u64, name: Option<&str>) -> Frame {
        let face = Face {
            track_id: Some(track),
            name: name.map(str::to_owned),
            similarity: name.map(|_| 0.5),
            status: if name.is_some() { "known" } else { "identifying" }.to_owned(),
            observed: true,
            ..Face::default()
        };
        Frame { pts_ns, faces: vec![face], ..Frame::default() }
    }

    impl Scene {
        /// A clip of a second with a video, and lines of which the last is cut off.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let spool = folder.path().join("spool");
            let storage = folder.path().join("clips");
            fs::create_dir(&storage).unwrap();
            let outbox = Outbox::open(&spool, Limits::default()).unwrap();
            let own = ClipSpool::create(&spool).unwrap();
            let sidecar = Sidecar {
                schema: crate::clip::SCHEMA.to_owned(),
                id: "one".to_owned(),
                duration_ns: 1_000_000_000,
                media: Some(Media::default()),
                ..Sidecar::default()
            };
            let clip = OpenClip {
                storage: storage.to_str().unwrap().to_owned(),
                stem: Some("door/x".to_owned()),
                sidecar,
                ..OpenClip::default()
            };
            own.write(&clip).unwrap();
            fs::write(own.piece("one", Piece::Whole), "video").unwrap();
            let mut lines = Vec::new();
            for frame in [
                frame(0, 7, None),
                frame(500_000_000, 7, Some("Ada")),
                frame(600_000_000, 3, None),
                frame(2_000_000_000, 9, None),
            ] {
                serde_json::to_writer(&mut lines, &frame).unwrap();
                lines.push(b'\n');
            }
            lines.extend(b"{\"pts_ns\":5");
            fs::write(own.piece("one", Piece::Lines), lines).unwrap();
            Self { _folder: folder, storage, own, outbox, clip }
        }

        fn deliver(&self) {
            let courier = Courier::new(&self.outbox).unwrap();
            courier.round(SystemTime::now(), &|| false).unwrap();
        }

        fn left(&self) -> usize {
            self.own.clips().unwrap().0.len()
                + fs::read_dir(self.own.spool().join("ready")).unwrap().count()
        }
    }

    #[test]
    fn complete_clip_arrives_with_sidecar_and_snapshot() {
        let mut scene = Scene::new();
        let spooled = complete(&scene.own, &mut scene.clip, Some(b"jpeg"), &scene.outbox).unwrap();
        assert_eq!((spooled.key.as_str(), spooled.bytes), ("door/x.mp4", 5));
        scene.deliver();
        assert_eq!(fs::read(scene.storage.join("door/x.mp4")).unwrap(), b"video");
        assert_eq!(fs::read(scene.storage.join("door/x.jpg")).unwrap(), b"jpeg");
        let json = fs::read(scene.storage.join("door/x.json")).unwrap();
        let sidecar = Sidecar::read(&json).unwrap();
        assert!(!sidecar.truncated);
        let media = sidecar.media.unwrap();
        assert_eq!((media.key.as_str(), media.bytes), ("door/x.mp4", 5));
        assert_eq!(media.sha256, spooled.sha256);
        assert_eq!(sidecar.frames.len(), 3, "what lies within the clip");
        let tracks: Vec<_> =
            sidecar.tracks.iter().map(|t| (t.track_id, t.name.as_deref())).collect();
        assert_eq!(tracks, [(7, Some("Ada")), (3, None)]);
        assert_eq!(sidecar.tracks[0].last_offset_ns, 500_000_000);
        assert_eq!(sidecar.snapshot.unwrap().bytes, 4);
        assert_eq!(scene.left(), 0);
    }

    #[test]
    fn clip_is_given_again_after_a_crash_and_arrives_once() {
        let mut scene = Scene::new();
        complete(&scene.own, &mut scene.clip, None, &scene.outbox).unwrap();
        // It died before the journal was gone, and after.
        scene.own.write(&scene.clip).unwrap();
        resume(&scene.own, &scene.clip, &scene.outbox).unwrap();
        assert_eq!(scene.outbox.stats().waiting, 2);
        scene.deliver();
        scene.own.write(&scene.clip).unwrap();
        resume(&scene.own, &scene.clip, &scene.outbox).unwrap();
        assert_eq!((scene.outbox.stats().waiting, scene.left()), (0, 0));
    }

    #[test]
    fn follow_ups_wait_for_the_video() {
        let mut scene = Scene::new();
        let address = Address::Plain("https://example.org".to_owned());
        let message = Message::json(&"stored").unwrap();
        scene.clip.follow_ups.push(FollowUp {
            id: EntryId::new("link").unwrap(),
            delivery: Delivery::from(Webhook::new(address, message)),
        });
        let spooled = complete(&scene.own, &mut scene.clip, None, &scene.outbox).unwrap();
        let items = scene.outbox.list().unwrap();
        let link = items.iter().find(|item| item.id == "link").unwrap();
        assert_eq!(link.after.as_deref(), Some(spooled.entry.as_str()));
    }

    #[test]
    fn clip_without_a_video_fails_and_stays() {
        let mut scene = Scene::new();
        fs::remove_file(scene.own.piece("one", Piece::Whole)).unwrap();
        let error = complete(&scene.own, &mut scene.clip, None, &scene.outbox).unwrap_err();
        assert!(error.to_string().contains("one.whole.mp4"), "{error}");
        assert_eq!(scene.own.clips().unwrap().0.len(), 1);
        discard(&scene.own, "one").unwrap();
        assert_eq!(scene.left(), 0);
    }
}
