//! The rates of false accepts and false rejects over the threshold, as SVG.

use std::fmt::Write;

use face_core::quality::calibration::{Calibration, Proposal, Rates, Share};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// Left, top, right and bottom of the drawing proper.
const LEFT: f64 = 80.0;
const TOP: f64 = 50.0;
const RIGHT: f64 = 740.0;
const BOTTOM: f64 = 370.0;

/// Thresholds drawn, in hundredths.
const THRESHOLDS: std::ops::RangeInclusive<i32> = 0..=100;

/// A drawing with a logarithmic axis of rates. What the number of comparisons cannot show is grey:
/// there a curve that ends is not one that is 0.
pub(super) fn draw(calibration: &Calibration, proposal: Option<&Proposal>, far: f64) -> String {
    let points: Vec<Rates> = THRESHOLDS.map(|step| calibration.at(step as f32 / 100.0)).collect();
    let compared = calibration.at(1.0).false_accepts.of;
    let blind = (3.0 / compared.max(1) as f64).min(1.0);
    let least = (far.min(blind) / 3.0).log10().floor();
    let y = |rate: f64| {
        let part = rate.max(1e-12).log10() / least;
        TOP + part.clamp(0.0, 1.0) * (BOTTOM - TOP)
    };
    let mut svg = String::new();
    frame(&mut svg, least as i32, &y, blind);
    curve(&mut svg, &points, &y, "#c0392b", |rates| rates.false_accepts);
    curve(&mut svg, &points, &y, "#8e44ad", |rates| rates.strangers_named);
    curve(&mut svg, &points, &y, "#2471a3", |rates| rates.false_rejects);
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<line x1='{LEFT}' x2='{RIGHT}' y1='{0:.1}' y2='{0:.1}' stroke='#555' \
         stroke-dasharray='2 4'/><text x='{RIGHT}' y='{1:.1}' text-anchor='end'>wanted: \
         {2}</text>",
        y(far),
        y(far) - 5.0,
        label(far)
    );
    if let Some(proposal) = proposal {
        let threshold = proposal.rates.threshold;
        let at = x(f64::from(threshold));
        let label = if proposal.shown { "proposed" } else { "proposed, not shown" };
        let _ = writeln!(
            svg,
            "<line x1='{at:.1}' x2='{at:.1}' y1='{TOP}' y2='{BOTTOM}' stroke='#1e8449' \
             stroke-width='2'/><text x='{:.1}' y='{:.1}' fill='#1e8449'>{threshold:.2} \
             ({label})</text>",
            at - 4.0,
            TOP - 6.0
        );
    }
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

/// A rate in per cent, without the noise of binary fractions.
fn label(rate: f64) -> String {
    format!("{} %", (rate * 1e12).round() / 1e10)
}

fn x(threshold: f64) -> f64 {
    LEFT + threshold.clamp(0.0, 1.0) * (RIGHT - LEFT)
}

/// Background, axes and the part that cannot be shown.
fn frame(svg: &mut String, least: i32, y: &impl Fn(f64) -> f64, blind: f64) {
    let (width, height) = (RIGHT - LEFT, BOTTOM - TOP);
    let _ = writeln!(
        svg,
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
         font-family='sans-serif' font-size='13'>\n<rect width='{WIDTH}' height='{HEIGHT}' \
         fill='#fff'/>\n<rect x='{LEFT}' y='{0:.1}' width='{width}' height='{1:.1}' \
         fill='#e8e8e8'/>\n<text x='{2}' y='{3:.1}' fill='#777'>too few comparisons to \
         tell</text>\n<rect x='{LEFT}' y='{TOP}' width='{width}' height='{height}' fill='none' \
         stroke='#333'/>",
        y(blind),
        BOTTOM - y(blind),
        LEFT + 8.0,
        BOTTOM - 8.0
    );
    for exponent in least..=0 {
        let rate = 10f64.powi(exponent);
        let label = label(rate);
        let _ = writeln!(
            svg,
            "<line x1='{LEFT}' x2='{RIGHT}' y1='{0:.1}' y2='{0:.1}' stroke='#ccc'/><text x='{1}' \
             y='{2:.1}' text-anchor='end'>{label}</text>",
            y(rate),
            LEFT - 8.0,
            y(rate) + 4.0
        );
    }
    for tenth in 0..=10 {
        let threshold = f64::from(tenth) / 10.0;
        let _ = writeln!(
            svg,
            "<line x1='{0:.1}' x2='{0:.1}' y1='{BOTTOM}' y2='{1}' stroke='#333'/><text \
             x='{0:.1}' y='{2}' text-anchor='middle'>{threshold:.1}</text>",
            x(threshold),
            BOTTOM + 5.0,
            BOTTOM + 20.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x='{}' y='{}' text-anchor='middle'>threshold (cosine similarity)</text>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 45.0
    );
}

/// A curve, broken where the rate is 0: a logarithm has no such place.
fn curve(
    svg: &mut String,
    points: &[Rates],
    y: &impl Fn(f64) -> f64,
    colour: &str,
    share: impl Fn(&Rates) -> Share,
) {
    for stretch in points.split(|rates| share(rates).count == 0).filter(|s| !s.is_empty()) {
        let places: Vec<String> = stretch
            .iter()
            .map(|r| format!("{:.1},{:.1}", x(f64::from(r.threshold)), y(share(r).rate())))
            .collect();
        // A stretch of one point is drawn as a dot.
        let _ = writeln!(
            svg,
            "<polyline points='{0} {1}' fill='none' stroke='{colour}' stroke-width='2.5' \
             stroke-linecap='round'/>",
            places.join(" "),
            places[places.len() - 1]
        );
    }
}

fn legend(svg: &mut String) {
    let entries = [
        ("#c0392b", "false accepts"),
        ("#8e44ad", "strangers named"),
        ("#2471a3", "false rejects"),
    ];
    for (i, (colour, text)) in entries.into_iter().enumerate() {
        let left = LEFT + 170.0 * i as f64;
        let _ = writeln!(
            svg,
            "<line x1='{left}' x2='{}' y1='26' y2='26' stroke='{colour}' \
             stroke-width='3'/><text x='{}' y='30'>{text}</text>",
            left + 24.0,
            left + 32.0
        );
    }
}
