//! How much memory clips cost, by the greatest resident size of processes of their own.

mod clip_support;

use std::path::Path;
use std::process::Command;

use clip_support::*;
use gst::prelude::*;

const MIB: u64 = 1 << 20;

/// What is measured: the other tests run it, as a process of its own.
#[test]
#[ignore = "is run by the other tests, with an environment of its own"]
fn child_process() {
    init();
    let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let folder = tempfile::tempdir().unwrap();
    let sink = match get("CLIPS_SINK").as_str() {
        "clipsink" => format!(
            "clipsink name=clips spool={0}/spool storage={0}/clips post-roll=1000000000",
            folder.path().display()
        ),
        other => other.to_owned(),
    };
    let launch = format!("{} ! {sink}", get("CLIPS_SOURCE"));
    let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    if let Some(element) = pipeline.by_name("clips") {
        let pictures = || element.property::<gst::Structure>("stats").get::<u64>("pictures");
        until("the ring is full", || pictures().unwrap() > 250);
        let id = element.emit_by_name::<Option<String>>("trigger", &[&None::<String>]);
        assert!(id.is_some());
    }
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(150), &kinds).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    if pipeline.by_name("clips").is_some() {
        let made = std::fs::read_dir(folder.path().join("clips")).unwrap().count()
            + std::fs::read_dir(folder.path().join("spool/ready")).unwrap().count();
        assert!(made > 0, "a clip was made");
    }
    pipeline.set_state(gst::State::Null).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    println!("\n{peak}");
}

/// Greatest resident size of a process that plays this, bytes.
fn peak(source: &str, sink: &str) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--ignored", "--nocapture"])
        .env("CLIPS_SOURCE", source)
        .env("CLIPS_SINK", sink)
        // A warning of somebody else's plugin would end the process.
        .env_remove("G_DEBUG")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// What clips cost, the median of three: where allocators put things is not the same in every run.
fn above(source: &str) -> u64 {
    let mut more: Vec<u64> =
        (0..3).map(|_| peak(source, "clipsink").saturating_sub(peak(source, "fakesink"))).collect();
    more.sort_unstable();
    println!("{more:?} bytes more");
    more[1]
}

#[test]
fn raw_1080p_costs_less_than_64_mib() {
    let source = "videotestsrc pattern=ball num-buffers=450 ! \
                  video/x-raw,format=NV12,width=1920,height=1080,framerate=30/1";
    let more = above(source);
    assert!(more < 64 * MIB, "{} MiB", more / MIB);
}

#[test]
fn coded_1080p_costs_what_is_kept_and_little_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("camera.h264");
    // 20 s of 8 Mbit/s.
    let made = collect(
        "videotestsrc pattern=snow num-buffers=100 ! \
         video/x-raw,format=I420,width=1920,height=1080,framerate=25/1 ! \
         x264enc speed-preset=ultrafast tune=zerolatency key-int-max=25 bitrate=8000 threads=2 ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out",
    );
    let part: Vec<u8> =
        made.buffers.iter().flat_map(|b| b.map_readable().unwrap().to_vec()).collect();
    let seconds = 20;
    std::fs::write(&file, part.repeat(5)).unwrap();
    let bytes_per_second = std::fs::metadata(&file).unwrap().len() / seconds;
    let source = format!(
        "filesrc location={} blocksize=65536 ! h264parse ! \
         video/x-h264,stream-format=byte-stream,alignment=au,framerate=25/1",
        Path::new(&file).display()
    );
    let more = above(&source);
    // 5 s of pre-roll, 5 s to decide.
    let kept = bytes_per_second * 10;
    println!("{} KiB/s: {} KiB more", bytes_per_second >> 10, more >> 10);
    // 7 to 8 MiB more, and up to 13 while a clip is completed beside a stream that goes on.
    assert!(more <= kept + 16 * MIB, "{} MiB, {} MiB are kept", more / MIB, kept / MIB);
}
