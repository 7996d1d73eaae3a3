//! What a large gallery needs, in a process of its own:
//!
//! `cargo bench --bench gallery_large -- memory [PEOPLE [EACH]]` prints the resident memory while a
//! gallery is loaded, searched and changed;
//! `cargo bench --bench gallery_large -- compare FOLDER [PEOPLE [EACH]]` measures searches against the
//! exact scan, and writes the vectors into the folder for compare_faiss.py. Every line that it then
//! reads makes it measure once more, so that both can be measured in turns.

mod crowd;
mod generator;

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crowd::{Crowd, EACH, FACES, queries, samples};
use face_core::embed::Embedding;
use face_core::gallery::{Access, Gallery, Match, VoteRule};

const QUERIES: usize = 2_000;

/// Queries of a further round of the exact scan, which takes long.
const SCANNED: usize = 200;

/// Similarity and margin from which a face is known, in the middle of the range of usual models.
const THRESHOLD: f32 = 0.45;
const MIN_MARGIN: f32 = 0.05;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |place: usize, usual: usize| match arguments.get(place) {
        Some(text) => text.parse::<usize>().map(|n| n.max(1)),
        None => Ok(usual),
    };
    match arguments.first().map(String::as_str) {
        Some("memory") => memory(number(1, 10_000)?, number(2, EACH)?),
        Some("compare") => {
            let folder = arguments.get(1).ok_or("compare needs a folder")?;
            compare(Path::new(folder), number(2, 10_000)?, number(3, EACH)?)
        }
        // As `cargo bench` runs it beside the other benches.
        _ => {
            println!("usage: memory [PEOPLE [EACH]] | compare FOLDER [PEOPLE [EACH]]");
            Ok(())
        }
    }
}

/// Resident memory and its peak, MiB.
fn resident() -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let of = |key: &str| {
        let line = status.lines().find(|l| l.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib.div_ceil(1024))
    };
    of("VmRSS:").zip(of("VmHWM:")).ok_or_else(|| "no memory figures in /proc".into())
}

fn memory(people: usize, each: usize) -> Result<(), Box<dyn std::error::Error>> {
    // Filled by another process: what filling leaves behind is not the gallery's.
    if let Ok(path) = std::env::var("CROWD") {
        let gallery = Gallery::open(Path::new(&path), &crowd::fingerprint(), Access::Write)?;
        let tell = |when: &str| -> Result<(), Box<dyn std::error::Error>> {
            let (now, peak) = resident()?;
            println!("{when}: {now} MiB, peak {peak} MiB");
            Ok(())
        };
        println!("{:?}", gallery.snapshot());
        tell("loaded")?;
        let asked = queries(people, each, 200);
        let search = || -> Result<(), Box<dyn std::error::Error>> {
            for query in &asked {
                gallery.snapshot().search(query, 5, VoteRule::Best)?;
            }
            Ok(())
        };
        search()?;
        tell("searched")?;
        for person in people..people + 500 {
            gallery.enroll(&format!("person {person}"), &samples(person, each))?;
        }
        search()?;
        tell("500 people enrolled")?;
        let begun = Instant::now();
        while gallery.snapshot().awaits_index() && begun.elapsed() < Duration::from_secs(600) {
            std::thread::sleep(Duration::from_millis(100));
        }
        return tell("new graph built, if one was due");
    }
    let crowd = Crowd::new(people, each);
    let program = std::env::current_exe()?;
    let numbers = [people.to_string(), each.to_string()];
    let mut command = std::process::Command::new(program);
    let status = command.arg("memory").args(numbers).env("CROWD", &crowd.path).status()?;
    if status.success() { Ok(()) } else { Err("the measured process failed".into()) }
}

fn compare(folder: &Path, people: usize, each: usize) -> Result<(), Box<dyn std::error::Error>> {
    let crowd = Crowd::new(people, each);
    let begun = Instant::now();
    let gallery = crowd.open(Access::Read);
    let load = begun.elapsed();
    while gallery.snapshot().awaits_index() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let build = begun.elapsed() - load;
    let snapshot = gallery.snapshot();
    println!("loaded in {load:.2?}, graph after {build:.2?}: {snapshot:?}");
    let asked = queries(people, each, QUERIES);
    write(&folder.join("rows.f32"), snapshot.rows().map(|(_, row)| row))?;
    write(&folder.join("queries.f32"), asked.iter().map(Embedding::as_slice))?;
    let (found, search) = timed(&asked, |q| snapshot.search(q, 2, VoteRule::Best))?;
    let (exact, scan) = timed(&asked, |q| snapshot.search_exactly(q, 2, VoteRule::Best))?;
    let margin = |m: &[Match]| m[0].similarity - m[1].similarity;
    let share = |hits: usize| hits as f64 / asked.len() as f64;
    let pairs = || found.iter().zip(&exact).filter(|(f, e)| f.len() == 2 && e.len() == 2);
    let first = pairs().filter(|(f, e)| f[0].person_id == e[0].person_id).count();
    let near = pairs().filter(|(f, e)| (margin(f) - margin(e)).abs() <= 0.02).count();
    let taken = |m: &[Match]| m[0].similarity >= THRESHOLD && margin(m) >= MIN_MARGIN;
    let strangers = found.iter().zip(&exact).skip(1).step_by(2);
    let accepted = strangers.filter(|(f, e)| taken(f) && !taken(e)).count();
    println!("first person equal {:.4}, margin within .02 {:.4}", share(first), share(near));
    println!("strangers taken that the exact scan refuses: {accepted}");
    println!("median search {search:.4} ms, exact scan {scan:.4} ms: {:.1} times", scan / search);
    for line in std::io::stdin().lock().lines() {
        line?;
        let (_, search) = timed(&asked, |q| snapshot.search(q, 2, VoteRule::Best))?;
        let scanned = &asked[..SCANNED];
        let (_, scan) = timed(scanned, |q| snapshot.search_exactly(q, 2, VoteRule::Best))?;
        let dim = FACES.dim;
        println!("{{\"dim\": {dim}, \"search_ms\": {search}, \"scan_ms\": {scan}}}");
    }
    Ok(())
}

type Found = Result<Vec<Match>, face_core::gallery::SearchError>;

/// A result for each query, and a time in milliseconds.
type Timed = (Vec<Vec<Match>>, f64);

/// The results and the median time in milliseconds, one after the other on one thread.
fn timed(
    asked: &[Embedding],
    search: impl Fn(&Embedding) -> Found,
) -> Result<Timed, Box<dyn std::error::Error>> {
    let mut times = Vec::with_capacity(asked.len());
    let mut found = Vec::with_capacity(asked.len());
    for query in asked {
        let begun = Instant::now();
        found.push(search(query)?);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((found, times[times.len() / 2]))
}

fn write<'a>(path: &Path, rows: impl Iterator<Item = &'a [f32]>) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for value in rows.flatten() {
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()
}
