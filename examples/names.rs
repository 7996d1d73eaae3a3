//! Prints who comes, live: reads the metadata in a pad probe, takes pictures from an appsink, and hears
//! the alerts on the bus. The plugin is linked in; nothing has to be installed.
//!
//! ```sh
//! cargo run --release -p gst-plugin-face --example names -- clip.mp4 people.gallery
//! ```

use std::collections::HashMap;
use std::error::Error;

use gst::prelude::*;
use gstface::meta::FrameFaces;

const PIPELINE: &str = "filesrc name=video ! decodebin ! videoconvert ! onnxfacedetect \
    ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack \
    ! facerecognize name=names ! tee name=both \
    both. ! queue ! fakesink name=end \
    both. ! queue leaky=downstream ! appsink name=pictures drop=true max-buffers=1";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [video, gallery] = &arguments[..] else {
        return Err("usage: names VIDEO GALLERY".into());
    };
    gst::init()?;
    gstface::plugin_register_static()?;
    let pipeline = gst::parse::launch(PIPELINE)?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "not a pipeline")?;
    let element = |name: &str| pipeline.by_name(name).ok_or(format!("no element {name}"));
    element("video")?.set_property("location", video);
    element("names")?.set_property("gallery", gallery);

    // Every buffer, on the thread of the stream: nothing here may wait.
    let pad = element("end")?.static_pad("sink").ok_or("a sink without a pad")?;
    let mut printed: HashMap<u64, String> = HashMap::new();
    let printed = move |buffer: &gst::BufferRef| {
        // Metadata that cannot be read is no reason to stop.
        let Some(Ok(faces)) = FrameFaces::read(buffer) else { return };
        for face in &faces.faces {
            let Some(name) = &face.name else { continue };
            if face.track_id != 0 && printed.get(&face.track_id) != Some(name) {
                println!("track {}: {name}", face.track_id);
                printed.insert(face.track_id, name.clone());
            }
        }
    };
    let printed = parking_lot::Mutex::new(printed);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            (*printed.lock())(buffer);
        }
        gst::PadProbeReturn::Ok
    });

    // The newest picture with its faces, when this program has time for one.
    let pictures = element("pictures")?.downcast::<gst_app::AppSink>().map_err(|_| "no appsink")?;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = taken.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let faces = sample.buffer().and_then(FrameFaces::read);
        if faces.is_some_and(|faces| faces.is_ok_and(|faces| !faces.faces.is_empty())) {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(gst::FlowSuccess::Ok)
    });
    pictures.set_callbacks(callbacks.build());

    let result = run(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    println!("{} pictures with faces taken", taken.load(std::sync::atomic::Ordering::Relaxed));
    result
}

/// Handles messages until the end of the stream.
fn run(pipeline: &gst::Pipeline) -> Result<(), Box<dyn Error>> {
    let bus = pipeline.bus().ok_or("a pipeline without a bus")?;
    pipeline.set_state(gst::State::Playing)?;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => return Err(error.error().into()),
            gst::MessageView::Element(element) => {
                let Some(alert) = element.structure().filter(|s| s.name() == "face-alert") else {
                    continue;
                };
                let text = |field: &str| alert.get::<String>(field).unwrap_or_default();
                println!("alert: {} {}", text("event"), text("name"));
            }
            _ => {}
        }
    }
    Ok(())
}
