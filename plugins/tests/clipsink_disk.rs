//! clipsink on a disk that is full, which only root can make.

mod clip_support;

use std::path::Path;
use std::process::Command;

use clip_support::*;
use face_core::clip::Part;

/// A file system of so many KiB, in memory, that goes with the value.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(kib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k,mode=700");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "gst-face-test"]).arg(folder.path());
        if !command.output().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no right to mount a small file system");
            return None;
        }
        Some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn full_disk_costs_clips_by_name_and_leaves_nothing_half() {
    let Some(disk) = Small::mount(700) else { return };
    let stream = h264(500, "tune=zerolatency pass=quant quantizer=10", "byte-stream");
    let per_second: usize = stream.buffers.iter().map(|b| b.size()).sum::<usize>() / 20;
    let scene = Scene::new().set("spool", disk.path().to_str().unwrap());
    let source = scene.source("sink", &stream.caps);
    scene.play();
    // All room but that of half a second is taken.
    let filling = disk.path().join("filling");
    let room = 600 * 1024 - per_second / 2;
    std::fs::write(&filling, vec![1; room]).unwrap();
    let push = |range: std::ops::Range<usize>, at: usize, id: &str| {
        for (i, buffer) in stream.buffers[range.clone()].iter().enumerate() {
            let now = range.start + i == at;
            let events = if now { vec![event(id, pts(buffer).unwrap())] } else { Vec::new() };
            source.push_buffer(with_meta(buffer, &events)).unwrap();
        }
    };
    push(0..250, 60, "a");
    let failed = scene.message("clip-failed");
    let events = failed.get::<gst::Array>("event-ids").unwrap();
    assert_eq!(events[0].get::<String>().unwrap(), "a");
    assert!(!failed.get::<String>("reason").unwrap().is_empty());
    // There is room again: the next clip is whole.
    std::fs::remove_file(&filling).unwrap();
    push(250..500, 320, "b");
    source.end_of_stream().unwrap();
    scene.finish();
    let kept = failed.get::<bool>("kept").unwrap();
    assert_eq!(scene.stat("clips-failed"), 1);
    assert_eq!(scene.stat("clips-spooled"), 1 + u64::from(kept));
    let outbox = face_core::outbox::Outbox::open(disk.path(), Default::default()).unwrap();
    face_core::outbox::Courier::new(&outbox).unwrap().flush(&mut |_, _| {}, &|| false).unwrap();
    let clips = face_core::clip::Clips::new(scene.storage(), Default::default());
    let found = clips.list(&Default::default(), &mut |_, _| std::ops::ControlFlow::Continue(()));
    let found = found.unwrap();
    assert_eq!(found.len(), 1 + usize::from(kept), "{found:?}");
    for clip in &found {
        assert!(clip.summary().is_some(), "every video has its sidecar: {clip:?}");
        let file = scene.file(clip, Part::Original);
        assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len());
    }
    let left = |name: &str| std::fs::read_dir(disk.path().join(name)).unwrap().count();
    assert_eq!((left("ready"), left("clips")), (0, 0));
}
