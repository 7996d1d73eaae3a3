//! Samples and groups of real clips.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use face_core::align::AlignedCrop;
use face_core::embed::{Embedder, Embedding};
use face_core::inference::{PoolOptions, Provider};
use face_core::model::{self, Task};
use face_core::picture::Picture;
use face_pipeline::schema::GroupSummary;
use face_pipeline::{AnalyzeOptions, analyze_file};
use support::stream::launch;
use support::{HAMILTON, HEADS, WALKING, enrol_people, go_on, media, options, recognition};

const SECOND: u64 = 1_000_000_000;

/// Is it seen at that time?
fn at(group: &GroupSummary, tenths: u64) -> bool {
    let time = tenths * SECOND / 10;
    group.intervals_ns.iter().any(|[from, to]| (*from..=*to).contains(&time))
}

#[test]
fn real_unknown_people_of_a_clip_are_told_apart() {
    let Some(media) = media() else { return };
    let mut options = options(&media, HAMILTON);
    options.group = true;
    for every_face in [false, true] {
        options.recognition.every_face = every_face;
        let analysis = analyze_file(&options, go_on).unwrap();
        println!("{:#?}", analysis.groups);
        assert!((6..=9).contains(&analysis.groups.len()), "{}", analysis.groups.len());
        // The singer, before and after the camera looks at somebody else.
        let singer = &analysis.groups[0];
        assert!(at(singer, 10) && at(singer, 45) && at(singer, 75), "{singer:?}");
        assert!(singer.tracks.len() >= 2 && !at(singer, 20), "{singer:?}");
        // Four people of the audience, side by side.
        let audience: Vec<_> = analysis.groups.iter().filter(|g| at(g, 95)).collect();
        assert!(audience.len() >= 4 && audience.iter().all(|g| !at(g, 50)), "{audience:?}");
        let listed: Vec<u64> = analysis.groups.iter().flat_map(|g| g.tracks.clone()).collect();
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
        for track in &analysis.tracks {
            let group = analysis.groups.iter().find(|g| g.tracks.contains(&track.track_id));
            assert_eq!(track.group, group.map(|g| g.group));
        }
    }
}

#[test]
fn real_people_of_the_gallery_are_in_no_group() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    enrol_people(&media, &gallery);
    let mut options = options(&media, HAMILTON);
    (options.gallery, options.group) = (Some((&gallery).into()), true);
    let analysis = analyze_file(&options, go_on).unwrap();
    assert_eq!(analysis.people.len(), 2);
    for track in analysis.tracks.iter().filter(|t| t.name.is_some()) {
        assert_eq!(track.group, None);
        assert!(analysis.groups.iter().all(|g| !g.tracks.contains(&track.track_id)));
    }
}

/// A video of clips one after another, in one size.
fn concat(media: &Path, clips: &[&str], video: &Path) {
    let mut all = Vec::new();
    for clip in clips {
        let part = video.with_extension("part");
        launch(&format!(
            "filesrc location={} ! decodebin ! videoconvert ! videoscale ! \
             video/x-raw,width=640,height=360,pixel-aspect-ratio=1/1 ! x264enc ! \
             video/x-h264,stream-format=byte-stream ! filesink location={}",
            media.join("video").join(clip).display(),
            part.display()
        ));
        all.extend(std::fs::read(part).unwrap());
    }
    std::fs::write(video, all).unwrap();
}

#[test]
fn real_people_who_come_back_are_a_row_each() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("three.h264");
    concat(&media, &[HEADS, WALKING, HEADS], &video);
    let recognition = recognition();
    let options = AnalyzeOptions { video, recognition, group: true, ..AnalyzeOptions::default() };
    let analysis = analyze_file(&options, go_on).unwrap();
    println!("{:?}", analysis.groups);
    // A woman and a man on 56 frames, she and two others on 41, and the two again.
    assert_eq!(analysis.frames, 56 + 41 + 56);
    let seen: Vec<_> = analysis.groups.iter().map(|g| (g.tracks.len(), g.frames)).collect();
    assert_eq!(seen, [(3, 153), (2, 112), (1, 41), (1, 41)]);
    let stretches: Vec<_> = analysis.groups.iter().map(|g| g.intervals_ns.len()).collect();
    assert_eq!(stretches, [1, 2, 1, 1]);
}

#[test]
fn real_two_runs_give_the_same_samples_and_groups() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&media, WALKING);
    (options.samples, options.group) = (true, true);
    let written = [1, 2].map(|run| {
        let json = folder.path().join(format!("{run}.json"));
        options.json = Some(json.clone());
        analyze_file(&options, go_on).unwrap();
        std::fs::read(json).unwrap()
    });
    assert!(written[0] == written[1], "two runs on one file differ");
}

#[test]
fn real_samples_are_what_the_embedder_saw() {
    let Some(media) = media() else { return };
    let mut options = options(&media, HAMILTON);
    (options.samples, options.recognition.every_face) = (true, true);
    let analysis = analyze_file(&options, go_on).unwrap();
    let model = model::resolve(&analysis.models.embedder, Task::Embedder).unwrap();
    let pools = PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() };
    let mut embedder = Embedder::load(&model, &pools).unwrap();
    let longest = analysis.tracks.iter().max_by_key(|t| t.frames).unwrap();
    // One for every 25 looks.
    assert!(longest.frames > 100 && longest.samples.len() == longest.frames as usize / 25);
    for track in &analysis.tracks {
        assert!((1..=longest.samples.len()).contains(&track.samples.len()), "{track:?}");
        let looks: u64 = track.samples.iter().map(|s| s.observations).sum();
        assert!(looks <= track.frames, "{looks} of {}", track.frames);
        assert!(track.best_shot.is_some());
        for sample in &track.samples {
            let png = BASE64_STANDARD.decode(&sample.crop).unwrap();
            let crop = Picture::decode("crop", &png).unwrap();
            let crop = AlignedCrop::from_rgb(crop.as_rgb().to_vec()).unwrap();
            let again = embedder.embed(&[&crop], None).unwrap().remove(0).unwrap();
            let written = Embedding::new(&sample.embedding).unwrap();
            assert!(again.cosine(&written).unwrap() > 0.999);
            assert!(sample.pts_ns >= track.first_pts_ns && sample.pts_ns <= track.last_pts_ns);
        }
    }
    // Whoever is on most of the pictures looks in many ways, and each sample in another one.
    for (i, a) in longest.samples.iter().enumerate() {
        for b in &longest.samples[i + 1..] {
            let cosine: f32 = a.embedding.iter().zip(&b.embedding).map(|(a, b)| a * b).sum();
            assert!(cosine < 0.95, "{cosine}");
        }
    }
}
