//! Pictures and models of tests/data: enrolling with them takes milliseconds.

#![allow(dead_code, unreachable_pub)]

use std::path::Path;

use super::Setup;

/// A file of the repository's tests/data.
pub fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}

/// Numbers that are the same in every run (xorshift, Marsaglia 2003).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Writes a picture with one usable face, where the detector `two_faces` says that there is one.
/// Its colours are its own, its texture is that of a sharp picture.
pub fn picture(path: &str, seed: u64) {
    const SIDE: u32 = 1280;
    let mut numbers = Numbers(seed * 7919 + 17);
    let colours: Vec<[u8; 3]> =
        (0..9).map(|_| std::array::from_fn(|_| 40 + numbers.below(176) as u8)).collect();
    let image = image::RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let [r, g, b] = colours[(x / 32 % 3 + y / 32 % 3 * 3) as usize];
        let grain = if (x ^ y) & 1 == 0 { 40 } else { 0 };
        image::Rgb([r + grain, g + grain, b + grain])
    });
    image.save(path).unwrap();
}

/// A clip of so many seconds, 15 frames each.
pub fn clip(folder: &Path, seconds: u32) -> String {
    let clip = folder.join("clip.mp4").to_str().unwrap().to_owned();
    let made = std::process::Command::new("gst-launch-1.0")
        .args(["-q", "videotestsrc", &format!("num-buffers={}", seconds * 15), "!"])
        .args(["video/x-raw,width=64,height=64,framerate=15/1", "!", "x264enc", "!", "h264parse"])
        .args(["!", "mp4mux", "!", "filesink", &format!("location={clip}")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    clip
}

/// Arguments that enrol pictures under a name.
pub fn enroll<'a>(gallery: &'a str, embedder: &'a str, name: &'a str) -> Vec<String> {
    let detector = data("two_faces.onnx");
    // The tiny embedder finds all these people alike: the gate would reject them.
    let fixed = ["enroll", "--json", "--force", "--threads", "1", "--detector", &detector];
    let fixed = [&fixed[..], &["--store-crops", "loose"]].concat();
    let given = ["--embedder", embedder, "--gallery", gallery, "--name", name];
    fixed.iter().chain(&given).map(|a| (*a).to_owned()).collect()
}

/// A gallery of a number of people with one picture each, enrolled by `embedder`.
pub fn gallery(setup: &Setup, name: &str, embedder: &str, people: u64) -> String {
    let gallery = setup.path(name);
    // Other galleries have other people of these names.
    let seed = name.bytes().fold(0, |seed, b| (seed * 31 + u64::from(b)) % 1_000_000);
    for i in 0..people {
        let file = setup.path(&format!("{name}-{i}.bmp"));
        picture(&file, 1000 + seed * 100 + i);
        let mut arguments = enroll(&gallery, embedder, &format!("person {i}"));
        arguments.push(file);
        let answer = setup.run(&arguments);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    gallery
}
