//! Takes the frames of an analysis as they pass, and makes of them what is written.

use std::path::PathBuf;

use face_core::model;
use gst::prelude::*;
use gstface::crops::{self, CutFace};
use gstface::meta::Face;

use crate::analyze::AnalyzeOptions;
use crate::error::AnalyzeError;
use crate::output::{PendingFile, PendingPath};
use crate::report::report;
use crate::run::{Ended, Tapped};
use crate::samples::{self, TrackSamples, Wanted};
use crate::schema::{Analysis, FrameRecord};
use crate::sheet::Sheet;
use crate::strangers::Grouping;
use crate::summary::Summary;

/// Pictures that end so much earlier than the file says mean that it was cut off: at least this
/// and a twentieth of the length.
const CUT_OFF_NS: u64 = 1_000_000_000;

/// Files under way.
#[derive(Default)]
pub(crate) struct Outputs {
    json: Option<PendingFile>,
    pub(crate) frames: Option<PendingFile>,
    pub(crate) copy: Option<PendingPath>,
    report: Option<PendingFile>,
    sheet: Option<PendingFile>,
}

impl Outputs {
    pub(crate) fn create(options: &AnalyzeOptions) -> Result<Outputs, AnalyzeError> {
        let file = |path: &Option<PathBuf>| path.as_deref().map(PendingFile::create).transpose();
        Ok(Outputs {
            json: file(&options.json)?,
            frames: file(&options.frames)?,
            copy: options.annotate.as_deref().map(PendingPath::create).transpose()?,
            report: file(&options.report)?,
            sheet: file(&options.sheet)?,
        })
    }
}

impl Outputs {
    /// Writes what is made of the whole analysis.
    fn write(
        &mut self,
        analysis: &mut Analysis,
        options: &AnalyzeOptions,
    ) -> Result<(), AnalyzeError> {
        if let Some(file) = &mut self.report {
            file.write(report(analysis).as_bytes())?;
        }
        if let Some(file) = &mut self.sheet {
            let sheet = Sheet::draw(analysis)?;
            analysis.warnings.extend(sheet.warning());
            file.write(&sheet.png)?;
        }
        // What was cut out for page and sheet alone was not asked for in the analysis.
        if !options.has_pictures() {
            analysis.tracks.iter_mut().for_each(|track| track.best_shot = None);
        }
        match &mut self.json {
            Some(json) => json.write_line(&json_text(analysis, options.samples)?),
            None => Ok(()),
        }
    }
}

/// An analysis whose files are whole, but do not have their names yet.
pub(crate) struct Finished {
    pub(crate) analysis: Analysis,
    outputs: Outputs,
}

impl Finished {
    /// Gives the annotated copy its name.
    pub(crate) fn publish_copy(&mut self) -> Result<(), AnalyzeError> {
        self.outputs.copy.take().map_or(Ok(()), PendingPath::commit)
    }

    /// Gives all files their names. The analysis last: where it is, the others are.
    pub(crate) fn publish(mut self) -> Result<Analysis, AnalyzeError> {
        self.publish_copy()?;
        let Outputs { json, frames, report, sheet, .. } = self.outputs;
        report.map_or(Ok(()), PendingFile::commit)?;
        sheet.map_or(Ok(()), PendingFile::commit)?;
        frames.map_or(Ok(()), PendingFile::commit)?;
        json.map_or(Ok(()), PendingFile::commit)?;
        Ok(self.analysis)
    }
}

/// Takes the frames on the streaming thread.
#[derive(Default)]
pub(crate) struct Collector {
    summary: Summary,
    frames: Option<PendingFile>,
    /// Write embeddings into the lines of `frames`.
    embeddings: bool,
    /// Cut out the clearest face of each track.
    pictures: bool,
    samples: Option<TrackSamples>,
    /// Why the pixels of a frame could not be read; the first time.
    unreadable: Option<String>,
}

impl Collector {
    pub(crate) fn new(options: &AnalyzeOptions, frames: Option<PendingFile>) -> Self {
        let wanted = Wanted { crops: options.samples, clusters: options.clusters };
        Self {
            summary: Summary::default(),
            frames,
            embeddings: options.embeddings,
            pictures: options.has_pictures() || options.report.is_some() || options.sheet.is_some(),
            samples: options.needs_looks().then(|| TrackSamples::new(wanted)),
            unreadable: None,
        }
    }

    pub(crate) fn add(&mut self, tapped: &Tapped) -> Result<(), AnalyzeError> {
        let mut record = self.summary.push(tapped.pts_ns, tapped.duration_ns, &tapped.faces);
        self.add_samples(tapped, &record)?;
        self.add_pictures(tapped)?;
        if !self.embeddings {
            record.faces.iter_mut().for_each(|face| face.embedding = None);
        }
        match &mut self.frames {
            Some(file) => file.write_line(&json_line(&record)?),
            None => Ok(()),
        }
    }

    /// Takes in the faces that were embedded on this frame.
    fn add_samples(&mut self, tapped: &Tapped, record: &FrameRecord) -> Result<(), AnalyzeError> {
        let Some(samples) = &mut self.samples else { return Ok(()) };
        let faces = &tapped.faces.faces;
        for face in faces.iter().filter(|f| f.was_id != 0 && f.was_id != f.track_id) {
            samples.join(face.was_id, face.track_id);
        }
        let pts_ns = record.pts_ns;
        if samples.wanted().crops {
            let cut = cut(tapped, false, TrackSamples::is_due, &mut self.unreadable);
            for CutFace { index, crop, .. } in cut {
                if let (Some(face), Some(record)) = (faces.get(index), record.faces.get(index)) {
                    samples.add(face, record, pts_ns, Some(crop));
                }
            }
        } else {
            let due =
                faces.iter().zip(&record.faces).filter(|(face, _)| TrackSamples::is_due(face));
            due.for_each(|(face, record)| samples.add(face, record, pts_ns, None));
        }
        for track_id in &tapped.faces.ended_tracks {
            samples.end(*track_id).map_err(AnalyzeError::pipeline)?;
        }
        Ok(())
    }

    /// Cuts out the faces that are the clearest of their tracks so far.
    fn add_pictures(&mut self, tapped: &Tapped) -> Result<(), AnalyzeError> {
        let clearest = self.summary.clearest();
        // Only those that were looked at: a face that was not is not known to be clear.
        let wanted = |face: &Face| face.quality.is_some() && clearest.contains(&face.track_id);
        if !self.pictures {
            return Ok(());
        }
        for CutFace { index, loose, .. } in cut(tapped, true, wanted, &mut self.unreadable) {
            if let (Some(face), Some(loose)) = (tapped.faces.faces.get(index), loose) {
                let jpeg = loose.to_jpeg().map_err(AnalyzeError::pipeline)?;
                self.summary.set_shot(face.track_id, jpeg);
            }
        }
        Ok(())
    }

    /// The analysis, and the files with everything in them. `source` is what the video is called,
    /// `threshold` from which similarity on two tracks may be one person.
    pub(crate) fn finish(
        mut self,
        options: &AnalyzeOptions,
        source: String,
        threshold: f32,
        mut outputs: Outputs,
        ended: Ended,
    ) -> Result<Finished, AnalyzeError> {
        let final_ids = self.summary.final_ids();
        if let Some(file) = self.frames.as_mut().filter(|_| !final_ids.is_empty()) {
            file.rewrite_lines(|line| {
                let mut record: FrameRecord = serde_json::from_str(line)?;
                for face in &mut record.faces {
                    face.track_id = *final_ids.get(&face.track_id).unwrap_or(&face.track_id);
                }
                Ok(serde_json::to_vec(&record)?)
            })?;
        }
        outputs.frames = self.frames;
        let looks = self.samples.map(|samples| samples.finish(&final_ids)).transpose();
        let mut looks = looks.map_err(AnalyzeError::pipeline)?.unwrap_or_default();
        let members = looks.iter().filter_map(|(id, of)| Some((*id, samples::member(of)?)));
        let grouping = options.group.then(|| Grouping { members: members.collect(), threshold });
        let embedder = options.recognition.embedder.clone();
        let embedder = embedder.unwrap_or_else(|| model::DEFAULT_EMBEDDER.to_owned());
        let cut_off = cut_off(self.summary.end_ns(), ended.duration_ns);
        let mut analysis = self.summary.finish(source, embedder, grouping.as_ref());
        for track in &mut analysis.tracks {
            track.samples = looks.remove(&track.track_id).map(samples::records).unwrap_or_default();
        }
        analysis.warnings = ended.warnings;
        analysis.warnings.extend(cut_off);
        let unreadable = self.unreadable.map(|r| format!("frames that could not be read: {r}"));
        analysis.warnings.extend(unreadable);
        outputs.write(&mut analysis, options)?;
        Ok(Finished { analysis, outputs })
    }
}

/// The faces that are wanted, cut out of the frame; it is not touched if there are none.
fn cut(
    tapped: &Tapped,
    loose: bool,
    wanted: impl Fn(&Face) -> bool,
    unreadable: &mut Option<String>,
) -> Vec<CutFace> {
    if !tapped.faces.faces.iter().any(&wanted) {
        return Vec::new();
    }
    let cut = || {
        let caps = tapped.pad.current_caps().ok_or("they have no caps")?;
        let info = gst_video::VideoInfo::from_caps(&caps).map_err(|e| e.to_string())?;
        crops::cut_faces(tapped.buffer, &info, &tapped.faces, loose, wanted)
    };
    cut().unwrap_or_else(|reason| {
        unreadable.get_or_insert(reason);
        Vec::new()
    })
}

/// For people to read, unless there are embeddings in it: a line for each of their numbers is for
/// nobody.
fn json_text(analysis: &Analysis, compact: bool) -> Result<Vec<u8>, AnalyzeError> {
    let text = match compact {
        true => serde_json::to_vec(analysis),
        false => serde_json::to_vec_pretty(analysis),
    };
    text.map_err(AnalyzeError::pipeline)
}

fn json_line(record: &FrameRecord) -> Result<Vec<u8>, AnalyzeError> {
    serde_json::to_vec(record).map_err(AnalyzeError::pipeline)
}

/// A warning if the pictures end long before the file says.
fn cut_off(end_ns: Option<u64>, duration_ns: Option<u64>) -> Option<String> {
    let (end, duration) = (end_ns?, duration_ns?);
    let short = duration.checked_sub(end)?;
    let seconds = |ns: u64| ns as f64 / 1e9;
    (short > CUT_OFF_NS.max(duration / 20)).then(|| {
        format!(
            "the pictures end at {:.1} s of {:.1} s: the file may be cut off",
            seconds(end),
            seconds(duration)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pictures_are_told_and_rounding_is_not() {
        let second = 1_000_000_000;
        assert_eq!(cut_off(Some(9 * second + second / 2), Some(10 * second)), None);
        assert_eq!(cut_off(Some(99 * second), Some(101 * second)), None);
        assert_eq!(cut_off(Some(11 * second), Some(10 * second)), None);
        assert_eq!(cut_off(None, Some(10 * second)), None);
        assert!(cut_off(Some(5 * second), Some(10 * second)).unwrap().contains("5.0 s of 10.0 s"));
    }
}
