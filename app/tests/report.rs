//! The web page of an analysis in a browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use face_core::align::{AlignedCrop, CROP_SIDE};
use face_pipeline::schema::{Models, PersonSummary, SCHEMA, TrackSummary};
use face_pipeline::{Analysis, report};

const TRACKS: u64 = 500;
const SECOND: u64 = 1_000_000_000;

/// The browser of Debian's package, or of others.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: chromium is not installed (scripts/setup.sh --tests installs it)");
    }
    found
}

/// A picture of a colour of its own, in Base64.
fn shot(number: u64) -> String {
    let [r, g, b] = [7, 13, 29].map(|prime| (number * prime % 256) as u8);
    let pixels = (0..CROP_SIDE * CROP_SIDE).flat_map(|i| [r, g.wrapping_add(i as u8), b]);
    let crop = AlignedCrop::from_rgb(pixels.collect()).unwrap();
    STANDARD.encode(crop.to_png().unwrap())
}

/// Two hours with 500 tracks, every second one of somebody with a name.
fn long() -> Analysis {
    let name = |id: u64| id.is_multiple_of(2).then(|| format!("<b>Person {}</b>", id % 40));
    let tracks: Vec<TrackSummary> = (1..=TRACKS)
        .map(|id| TrackSummary {
            track_id: id,
            first_pts_ns: Some(id * 14 * SECOND),
            last_pts_ns: Some((id * 14 + 9) * SECOND),
            frames: 225,
            status: if id.is_multiple_of(2) { "known" } else { "unknown" }.to_owned(),
            name: name(id),
            person_id: None,
            similarity: Some(0.5),
            best_box: [0.0, 0.0, 90.0, 90.0],
            best_pts_ns: Some(id * 14 * SECOND),
            best_shot: Some(shot(id)),
            samples: Vec::new(),
            group: None,
        })
        .collect();
    let person = |n: u64| {
        let of_person: Vec<&TrackSummary> =
            tracks.iter().filter(|t| t.track_id % 40 == n).collect();
        PersonSummary {
            name: name(n).unwrap_or_default(),
            frames: 225 * of_person.len() as u64,
            tracks: of_person.iter().map(|t| t.track_id).collect(),
            intervals_ns: of_person
                .iter()
                .filter_map(|t| Some([t.first_pts_ns?, t.last_pts_ns?]))
                .collect(),
        }
    };
    let people = (0..40).step_by(2).map(person).collect();
    Analysis {
        schema: SCHEMA.to_owned(),
        source: "long.mp4".to_owned(),
        frames: 180_000,
        duration_ns: Some(7200 * SECOND),
        models: Models { detector: "yunet".to_owned(), embedder: "mobilefacenet".to_owned() },
        tracks,
        people,
        groups: Vec::new(),
        warnings: Vec::new(),
    }
}

/// The page as the browser has it after its scripts have run, and what it complained of.
fn open(chromium: &Path, folder: &Path, address: &str) -> (String, String) {
    let output = Command::new(chromium)
        // No sandbox: containers and root have none. Every name of a host is unknown: what the
        // browser itself would ask for is not asked, either.
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom", address])
        .env("HOME", folder)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (page, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{log}", output.status);
    (page, log)
}

#[test]
fn page_of_500_tracks_works_in_a_browser_without_a_network() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    std::fs::write(&file, report(&long())).unwrap();
    let address = format!("file://{}#track-77", file.display());
    let (page, log) = open(&chromium, folder.path(), &address);
    // Errors of scripts and of the security policy appear there.
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert_eq!(page.matches("<tr id=\"track-").count() as u64, TRACKS);
    assert!(page.matches("aria-label=\"").count() as u64 > TRACKS);
    assert!(page.contains("&lt;b&gt;Person 38&lt;/b&gt;") && !page.contains("<b>"));
    // The script ran: heads of the table are buttons, the filter is there.
    assert_eq!(page.matches("<button type=\"button\">").count(), 5);
    assert!(page.contains("<form id=\"filter\" role=\"search\">"), "the filter is hidden");
}

#[test]
fn table_is_sorted_and_filtered() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    // A user, who is a script here, which the policy would not let run.
    let user = "<script>
        const rows = () => Array.from(document.querySelectorAll('tbody tr:not([hidden])'));
        const first = () => rows()[0].id;
        const seen = [first()];
        const click = (i) => document.querySelectorAll('thead button')[i].click();
        click(0); click(0); seen.push(first());
        click(1); seen.push(first(), rows().at(-1).id);
        const input = document.querySelector('#filter input');
        input.value = 'PÉRSON 38';
        input.dispatchEvent(new Event('input'));
        seen.push(rows().length, document.querySelector('output').value);
        location.hash = '#track-77';
        window.addEventListener('hashchange', () => {
            seen.push(rows().length, document.activeElement.id);
            document.body.textContent = seen.join('; ');
        });
        </script></body>";
    let page = report(&long()).replace("http-equiv", "data-was").replace("</body>", user);
    std::fs::write(&file, page).unwrap();
    let (page, log) = open(&chromium, folder.path(), &format!("file://{}", file.display()));
    let body = page.split_once("<body>").unwrap().1.split_once("</body>").unwrap().0;
    // Names are sorted by their numbers; who has none comes last.
    let expected = "track-1; track-500; track-40; track-499; 12; 12 of 500 tracks; 500; track-77";
    assert_eq!(body.trim(), expected, "{log}");
}

/// Scripts that are in the page by mistake must not run, and must be told: else the test above sees
/// nothing.
#[test]
fn browser_refuses_and_tells_what_the_policy_forbids() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let page = report(&long());
    let foreign = "<script>document.title = 'taken over'</script>\
                   <img src=\"nowhere.png\" alt=\"\"></body>";
    std::fs::write(&file, page.replace("</body>", foreign)).unwrap();
    let (page, log) = open(&chromium, folder.path(), &format!("file://{}", file.display()));
    assert!(page.contains("<title>Faces in long.mp4</title>"));
    assert!(log.lines().filter(|line| line.contains("CONSOLE")).count() >= 2, "{log}");
}
