//! An analysis as a web page: one file that needs nothing else, asks for nothing, and can be read
//! without scripts.

mod html;
mod timeline;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use html::{Escaped, Html, html};
use sha2::{Digest, Sha256};
use timeline::Timeline;

use crate::clock::clock;
use crate::rows::{self, Row, Shot, Who};
use crate::schema::{Analysis, TrackSummary};

const STYLE: &str = include_str!("report/page.css");
const SCRIPT: &str = include_str!("report/page.js");

/// Longest title of the page, characters.
const MAX_TITLE_CHARS: usize = 120;
/// Longest path or model name that is shown, characters.
const MAX_VALUE_CHARS: usize = 1000;
/// Tracks that are listed with a person before the rest is only counted.
const LISTED_TRACKS: usize = 12;

/// A web page that shows an analysis: who is seen when, on a timeline, with the best shots, and every
/// track in a table. It is one file: pictures, style and script are in it, and its security policy
/// forbids all requests. Scripts only add sorting and filtering.
///
/// Pictures are shown as far as the analysis has them.
pub fn report(analysis: &Analysis) -> String {
    let rows = rows::rows(analysis);
    let timeline = Timeline::new(analysis, &rows);
    let style = format!("{STYLE}{}", timeline.as_ref().map(Timeline::style).unwrap_or_default());
    let file = analysis.source.rsplit('/').next().unwrap_or_default();
    let title = face_core::text::one_line(file, MAX_TITLE_CHARS);
    let mut page = Html::default();
    html!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         img-src data:; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"robots\" content=\"noindex\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>Faces in {}</title>\n<style>{style}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#tracks\">Skip to the tracks</a>\n<header>\n\
         <h1>Faces in <bdi>{}</bdi></h1>\n",
        hash(&style),
        hash(SCRIPT),
        Escaped(&title),
        Escaped(&title),
    );
    summary(&mut page, analysis);
    page.push("</header>\n<main>\n");
    people(&mut page, &rows);
    page.push("<section aria-labelledby=\"when\">\n<h2 id=\"when\">Who is seen when</h2>\n");
    match &timeline {
        Some(timeline) => timeline.write(&mut page, &rows),
        None if rows.is_empty() => page.push("<p>No face was found.</p>\n"),
        None => page.push("<p>The video has no times.</p>\n"),
    }
    page.push("</section>\n");
    tracks(&mut page, analysis);
    html!(
        page,
        "</main>\n<footer>\n<p>Made by face-pipeline {} from {}. Pictures and names of people are \
         personal data: pass this page on with the care that they need.</p>\n</footer>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        Escaped(&face_core::text::one_line(&analysis.schema, MAX_TITLE_CHARS)),
    );
    page.into_string()
}

/// What a security policy calls a script or a style by.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn summary(page: &mut Html, analysis: &Analysis) {
    let unnamed = analysis.tracks.iter().filter(|track| track.name.is_none()).count();
    let length = analysis.duration_ns.map_or_else(|| "not known".to_owned(), clock);
    let shown = |text: &str| face_core::text::one_line(text, MAX_VALUE_CHARS);
    let facts = [
        ("Video", shown(&analysis.source)),
        ("Length", length),
        ("Pictures", analysis.frames.to_string()),
        ("People recognised", analysis.people.len().to_string()),
        ("Unknown people", analysis.groups.len().to_string()),
        ("Tracks", analysis.tracks.len().to_string()),
        ("Tracks without a name", unnamed.to_string()),
        ("Detector", shown(&analysis.models.detector)),
        ("Embedder", shown(&analysis.models.embedder)),
    ];
    page.push("<dl class=\"facts\">\n");
    for (what, value) in facts {
        // Without groups it is not known how many the unknown ones are.
        if what == "Unknown people" && analysis.groups.is_empty() {
            continue;
        }
        html!(page, "<div><dt>{what}</dt><dd><bdi>{}</bdi></dd></div>\n", Escaped(&value));
    }
    page.push("</dl>\n");
    for warning in &analysis.warnings {
        html!(page, "<p class=\"warning\">Warning: {}</p>\n", Escaped(&shown(warning)));
    }
}

/// A card with the best shot for everybody who is more than a single track.
fn people(page: &mut Html, rows: &[Row<'_>]) {
    page.push("<section aria-labelledby=\"people\">\n<h2 id=\"people\">People</h2>\n");
    let mut shown = rows.iter().filter(|row| row.who != Who::Track).peekable();
    if shown.peek().is_none() {
        page.push("<p>Nobody was recognised.</p>\n</section>\n");
        return;
    }
    page.push("<ul class=\"cards\">\n");
    for row in shown {
        page.push("<li>");
        let shot = Shot::of_any(&row.tracks);
        picture(page, shot, &row.title, row.who == Who::Person);
        let times = counted(row.stretches.len(), "time", "times");
        let frames = counted(row.frames as usize, "picture", "pictures");
        html!(
            page,
            "<div><h3><bdi>{}</bdi></h3>\n<p>{times}, {frames}</p>\n<p class=\"soft\">",
            Escaped(&row.title)
        );
        page.push(if row.tracks.len() == 1 { "Track " } else { "Tracks " });
        for (i, track) in row.tracks.iter().take(LISTED_TRACKS).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            let id = track.track_id;
            html!(page, "{comma}<a href=\"#track-{id}\">{id}</a>");
        }
        if let more @ 1.. = row.tracks.len().saturating_sub(LISTED_TRACKS) {
            html!(page, " and {more} more");
        }
        page.push("</p></div></li>\n");
    }
    page.push("</ul>\n</section>\n");
}

/// A face, or a place for one.
fn picture(page: &mut Html, shot: Option<Shot<'_>>, title: &str, named: bool) {
    match shot {
        Some(Shot { mime, base64, pts_ns }) => {
            let at = pts_ns.map(|ns| format!(" at {}", clock(ns))).unwrap_or_default();
            html!(
                page,
                "<img class=\"face\" width=\"96\" height=\"96\" decoding=\"async\" \
                 src=\"data:{mime};base64,{base64}\" alt=\"{}{at}\">",
                Escaped(title)
            );
        }
        None => html!(
            page,
            "<svg class=\"face\" width=\"96\" height=\"96\" viewBox=\"0 0 96 96\" role=\"img\" \
             aria-label=\"no picture of {}\"><text x=\"48\" y=\"60\">{}</text></svg>",
            Escaped(title),
            Escaped(&rows::initials(named.then_some(title))),
        ),
    }
}

/// Every track, by time.
fn tracks(page: &mut Html, analysis: &Analysis) {
    page.push("<section aria-labelledby=\"tracks\">\n<h2 id=\"tracks\">Tracks</h2>\n");
    if analysis.tracks.is_empty() {
        page.push("<p>There are none.</p>\n</section>\n");
        return;
    }
    page.push(
        "<form id=\"filter\" role=\"search\" hidden><label>Show names and numbers with <input \
         type=\"search\" autocomplete=\"off\" spellcheck=\"false\"></label> <output></output>\
         </form>\n<div class=\"scroll\" role=\"region\" aria-labelledby=\"tracks\" tabindex=\"0\">\n\
         <table>\n<thead><tr><th scope=\"col\">Face</th><th scope=\"col\" data-sort=\"number\">Track\
         </th><th scope=\"col\" data-sort=\"text\">Who</th><th scope=\"col\" data-sort=\"number\">Seen\
         </th><th scope=\"col\" data-sort=\"number\">Pictures</th><th scope=\"col\" \
         data-sort=\"number\">Similarity</th></tr></thead>\n<tbody>\n",
    );
    let mut ids = std::collections::HashSet::new();
    for track in &analysis.tracks {
        // A number that is there twice could be led to only once.
        track_row(page, track, ids.insert(track.track_id));
    }
    page.push(
        "</tbody>\n</table>\n</div>\n<p class=\"soft\">Similarity: that with the named person; where \
         nobody is named, with the nearest one of the gallery.</p>\n</section>\n",
    );
}

fn track_row(page: &mut Html, track: &TrackSummary, first: bool) {
    let TrackSummary { track_id, frames, .. } = track;
    if first {
        html!(page, "<tr id=\"track-{track_id}\" tabindex=\"-1\"><td>");
    } else {
        page.push("<tr><td>");
    }
    let title = rows::track_title(track);
    picture(page, Shot::of(track), &title, track.name.is_some());
    html!(page, "</td><th scope=\"row\" data-key=\"{track_id}\">{track_id}</th>");
    let status = match track.group {
        Some(group) => format!("unknown {group}"),
        None => face_core::text::one_line(&track.status, MAX_TITLE_CHARS),
    };
    match &track.name {
        Some(name) => {
            let name = rows::name(name);
            html!(page, "<td data-key=\"{0}\"><bdi>{0}</bdi></td>", Escaped(&name));
        }
        None => html!(page, "<td data-key=\"\" class=\"soft\">{}</td>", Escaped(&status)),
    }
    match rows::span(track) {
        Some([from, to]) => {
            html!(page, "<td data-key=\"{from}\">{}–{}</td>", clock(from), clock(to));
        }
        None => page.push("<td data-key=\"\"></td>"),
    }
    html!(page, "<td data-key=\"{frames}\">{frames}</td>");
    match track.similarity.filter(|similarity| similarity.is_finite()) {
        Some(s) => html!(page, "<td data-key=\"{s}\">{s:.2}</td></tr>\n"),
        None => page.push("<td data-key=\"\"></td></tr>\n"),
    }
}

/// "1 time", "2 times".
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
