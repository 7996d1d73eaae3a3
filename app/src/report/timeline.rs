//! Who is seen when, as bars over the length of the video.

use super::counted;
use super::html::{Escaped, Html, html};
use crate::clock::clock;
use crate::rows::{Row, Stretch, Who};
use crate::schema::Analysis;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Distances of the marks on the axis, nanoseconds; beyond them days are doubled.
const STEPS: [u64; 18] = [
    SECOND / 10,
    SECOND / 2,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    12 * HOUR,
    24 * HOUR,
];
/// More marks would run into each other on a narrow screen.
const MOST_MARKS: u64 = 6;

#[derive(Debug)]
pub(super) struct Timeline {
    end_ns: u64,
    step_ns: u64,
}

impl Timeline {
    /// `None` if nobody is seen at any time.
    pub(super) fn new(analysis: &Analysis, rows: &[Row<'_>]) -> Option<Self> {
        let last = rows.iter().flat_map(|row| &row.stretches).map(|s| s.to).max()?;
        let end_ns = analysis.duration_ns.unwrap_or(0).max(last).max(1);
        let fits = |step: &u64| end_ns / step <= MOST_MARKS;
        let days = || (1..).map_while(|power| (24 * HOUR).checked_shl(power)).find(fits);
        let step_ns = STEPS.into_iter().find(fits).or_else(days).unwrap_or(end_ns);
        Some(Self { end_ns, step_ns })
    }

    /// The marks of the axis, repeated behind every bar.
    pub(super) fn style(&self) -> String {
        format!(":root{{--step:{:.4}%}}\n", self.percent(self.step_ns))
    }

    pub(super) fn write(&self, page: &mut Html, rows: &[Row<'_>]) {
        page.push(
            "<div class=\"timeline\" role=\"region\" aria-labelledby=\"when\" tabindex=\"0\">\n\
             <div class=\"row axis\" aria-hidden=\"true\"><span class=\"who\"></span>\
             <svg class=\"bar\" width=\"100%\" height=\"20\">",
        );
        let marks = (0..=MOST_MARKS).map(|i| i.saturating_mul(self.step_ns));
        for mark in marks.take_while(|mark| *mark <= self.end_ns) {
            let place = self.percent(mark);
            let anchor = anchor(place, 1.0, 92.0);
            html!(
                page,
                "<text x=\"{place:.3}%\" y=\"14\" class=\"{anchor}\">{}</text>",
                self.label(mark)
            );
        }
        page.push("</svg></div>\n<ul>\n");
        rows.iter().filter(|row| !row.stretches.is_empty()).for_each(|row| self.row(page, row));
        page.push("</ul>\n</div>\n");
    }

    fn row(&self, page: &mut Html, row: &Row<'_>) {
        let known = if row.who == Who::Person { "known" } else { "unknown" };
        let times = counted(row.stretches.len(), "time", "times");
        html!(
            page,
            "<li class=\"row {known}\"><span class=\"who\" title=\"{0}\"><bdi>{0}</bdi></span>\
             <svg class=\"bar\" width=\"100%\" height=\"20\" role=\"group\" \
             aria-label=\"{0}, {times}\">",
            Escaped(&row.title)
        );
        row.stretches.iter().for_each(|stretch| self.stretch(page, row, stretch));
        page.push("</svg></li>\n");
    }

    /// A link to the track, with a text that shows while it is pointed at or has the focus.
    fn stretch(&self, page: &mut Html, row: &Row<'_>, stretch: &Stretch) {
        let (from, to) = (self.percent(stretch.from), self.percent(stretch.to));
        let times = format!("{}–{}", clock(stretch.from), clock(stretch.to));
        let Some(track) = stretch.track else {
            html!(
                page,
                "<rect x=\"{from:.3}%\" width=\"{:.3}%\" height=\"16\" y=\"2\"/>",
                to - from
            );
            return;
        };
        let middle = (from + to) / 2.0;
        html!(
            page,
            "<a href=\"#track-{track}\" aria-label=\"{}, {times}, track {track}\">\
             <rect x=\"{from:.3}%\" width=\"{:.3}%\" height=\"16\" y=\"2\"/>\
             <text x=\"{middle:.3}%\" y=\"33\" class=\"{}\">{times}, track {track}</text></a>",
            Escaped(&row.title),
            to - from,
            anchor(middle, 30.0, 70.0),
        );
    }

    fn percent(&self, ns: u64) -> f64 {
        (ns as f64 / self.end_ns as f64 * 100.0).min(100.0)
    }

    /// Tenths only where the marks are nearer than seconds.
    fn label(&self, ns: u64) -> String {
        let mut text = clock(ns);
        if self.step_ns.is_multiple_of(SECOND) {
            text.truncate(text.rfind('.').unwrap_or(text.len()));
        }
        text
    }
}

/// On which side of its place a text stands, so that it does not leave the bar.
fn anchor(percent: f64, left: f64, right: f64) -> &'static str {
    if percent < left {
        "start"
    } else if percent > right {
        "end"
    } else {
        "middle"
    }
}
