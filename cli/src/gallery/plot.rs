//! The rates of false accepts and false rejects over the threshold, as SVG or PNG: one list of
//! shapes, written as text or drawn by Cairo, which every program with the elements has anyway.

use std::fmt::Write;

use anyhow::Context;
use cairo::{FontSlant, FontWeight, Format, ImageSurface, LineCap};
use face_core::quality::calibration::{Calibration, Proposal, Rates, Share};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// Left, top, right and bottom of the drawing proper.
const LEFT: f64 = 80.0;
const TOP: f64 = 50.0;
const RIGHT: f64 = 740.0;
const BOTTOM: f64 = 370.0;

/// Pixels per unit of the drawing in a PNG file, so that it stays sharp where screens are fine.
const PNG_SCALE: f64 = 2.0;
const FONT_SIZE: f64 = 13.0;

/// Thresholds drawn, in hundredths.
const THRESHOLDS: std::ops::RangeInclusive<i32> = 0..=100;

type Rgb = u32;
const BLACK: Rgb = 0x00_00_00;
const GREEN: Rgb = 0x1e_84_49;
const CURVES: [(Rgb, &str); 3] =
    [(0xc0_39_2b, "false accepts"), (0x8e_44_ad, "strangers named"), (0x24_71_a3, "false rejects")];

/// Which part of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn as_str(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Left, top, width and height; filled.
    Rect([f64; 4], Rgb),
    Line {
        points: Vec<(f64, f64)>,
        colour: Rgb,
        width: f64,
        /// Lengths of the strokes and of what is between; none: a solid line.
        dashes: &'static [f64],
    },
    Text {
        at: (f64, f64),
        anchor: Anchor,
        colour: Rgb,
        text: String,
    },
}

/// A plot that is not written yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawing(Vec<Shape>);

/// A drawing with a logarithmic axis of rates. What the number of comparisons cannot show is grey:
/// there a curve that ends is not one that is 0.
pub(super) fn draw(calibration: &Calibration, proposal: Option<&Proposal>, far: f64) -> Drawing {
    let points: Vec<Rates> = THRESHOLDS.map(|step| calibration.at(step as f32 / 100.0)).collect();
    let compared = calibration.at(1.0).false_accepts.of;
    let blind = (3.0 / compared.max(1) as f64).min(1.0);
    let least = (far.min(blind) / 3.0).log10().floor();
    let y = |rate: f64| {
        let part = rate.max(1e-12).log10() / least;
        TOP + part.clamp(0.0, 1.0) * (BOTTOM - TOP)
    };
    let mut drawing = Drawing::default();
    drawing.frame(least as i32, &y, blind);
    drawing.curve(&points, &y, CURVES[0].0, |rates| rates.false_accepts);
    drawing.curve(&points, &y, CURVES[1].0, |rates| rates.strangers_named);
    drawing.curve(&points, &y, CURVES[2].0, |rates| rates.false_rejects);
    drawing.line([(LEFT, y(far)), (RIGHT, y(far))], 0x55_55_55, 1.0, &[2.0, 4.0]);
    drawing.text((RIGHT, y(far) - 5.0), Anchor::End, BLACK, format!("wanted: {}", label(far)));
    if let Some(proposal) = proposal {
        let threshold = proposal.rates.threshold;
        let at = x(f64::from(threshold));
        let label = if proposal.shown { "proposed" } else { "proposed, not shown" };
        drawing.line([(at, TOP), (at, BOTTOM)], GREEN, 2.0, &[]);
        let text = format!("{threshold:.2} ({label})");
        drawing.text((at - 4.0, TOP - 6.0), Anchor::Start, GREEN, text);
    }
    drawing.legend();
    drawing
}

/// A rate in per cent, without the noise of binary fractions.
fn label(rate: f64) -> String {
    format!("{} %", (rate * 1e12).round() / 1e10)
}

fn x(threshold: f64) -> f64 {
    LEFT + threshold.clamp(0.0, 1.0) * (RIGHT - LEFT)
}

impl Drawing {
    fn line(&mut self, ends: [(f64, f64); 2], colour: Rgb, width: f64, dashes: &'static [f64]) {
        self.0.push(Shape::Line { points: ends.to_vec(), colour, width, dashes });
    }

    fn text(&mut self, at: (f64, f64), anchor: Anchor, colour: Rgb, text: impl Into<String>) {
        self.0.push(Shape::Text { at, anchor, colour, text: text.into() });
    }

    /// Background, axes and the part that cannot be shown.
    fn frame(&mut self, least: i32, y: &impl Fn(f64) -> f64, blind: f64) {
        let width = RIGHT - LEFT;
        self.0.push(Shape::Rect([0.0, 0.0, WIDTH, HEIGHT], 0xff_ff_ff));
        self.0.push(Shape::Rect([LEFT, y(blind), width, BOTTOM - y(blind)], 0xe8_e8_e8));
        let grey = "too few comparisons to tell";
        self.text((LEFT + 8.0, BOTTOM - 8.0), Anchor::Start, 0x77_77_77, grey);
        let corners = [(LEFT, TOP), (RIGHT, TOP), (RIGHT, BOTTOM), (LEFT, BOTTOM), (LEFT, TOP)];
        let (points, colour) = (corners.to_vec(), 0x33_33_33);
        self.0.push(Shape::Line { points, colour, width: 1.0, dashes: &[] });
        for exponent in least..=0 {
            let rate = 10f64.powi(exponent);
            self.line([(LEFT, y(rate)), (RIGHT, y(rate))], 0xcc_cc_cc, 1.0, &[]);
            self.text((LEFT - 8.0, y(rate) + 4.0), Anchor::End, BLACK, label(rate));
        }
        for tenth in 0..=10 {
            let threshold = f64::from(tenth) / 10.0;
            let at = x(threshold);
            self.line([(at, BOTTOM), (at, BOTTOM + 5.0)], 0x33_33_33, 1.0, &[]);
            let text = format!("{threshold:.1}");
            self.text((at, BOTTOM + 20.0), Anchor::Middle, BLACK, text);
        }
        let middle = ((LEFT + RIGHT) / 2.0, BOTTOM + 45.0);
        self.text(middle, Anchor::Middle, BLACK, "threshold (cosine similarity)");
    }

    /// A curve, broken where the rate is 0: a logarithm has no such place.
    fn curve(
        &mut self,
        points: &[Rates],
        y: &impl Fn(f64) -> f64,
        colour: Rgb,
        share: impl Fn(&Rates) -> Share,
    ) {
        for stretch in points.split(|rates| share(rates).count == 0).filter(|s| !s.is_empty()) {
            let place = |r: &Rates| (x(f64::from(r.threshold)), y(share(r).rate()));
            let mut points: Vec<_> = stretch.iter().map(place).collect();
            // A stretch of one point is drawn as a dot.
            points.extend(points.last().copied());
            self.0.push(Shape::Line { points, colour, width: 2.5, dashes: &[] });
        }
    }

    fn legend(&mut self) {
        for (i, (colour, text)) in CURVES.into_iter().enumerate() {
            let left = LEFT + 170.0 * i as f64;
            self.line([(left, 26.0), (left + 24.0, 26.0)], colour, 3.0, &[]);
            self.text((left + 32.0, 30.0), Anchor::Start, BLACK, text);
        }
    }

    /// The drawing as an SVG file.
    pub(super) fn to_svg(&self) -> String {
        // Writing to a string does not fail.
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
             font-family='sans-serif' font-size='{FONT_SIZE}'>\n"
        );
        for shape in &self.0 {
            let _ = match shape {
                Shape::Rect([x, y, width, height], colour) => writeln!(
                    svg,
                    "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' \
                     fill='#{colour:06x}'/>"
                ),
                Shape::Line { points, colour, width, dashes } => {
                    let places: Vec<String> =
                        points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                    let dashes: Vec<String> = dashes.iter().map(f64::to_string).collect();
                    let dashes = match &dashes[..] {
                        [] => String::new(),
                        some => format!(" stroke-dasharray='{}'", some.join(" ")),
                    };
                    writeln!(
                        svg,
                        "<polyline points='{}' fill='none' stroke='#{colour:06x}' \
                         stroke-width='{width}' stroke-linecap='round'{dashes}/>",
                        places.join(" ")
                    )
                }
                Shape::Text { at: (x, y), anchor, colour, text } => writeln!(
                    svg,
                    "<text x='{x:.1}' y='{y:.1}' text-anchor='{}' fill='#{colour:06x}'>{text}</text>",
                    anchor.as_str()
                ),
            };
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The drawing as a PNG file.
    ///
    /// # Errors
    /// If there is no memory for its pixels.
    pub(super) fn to_png(&self) -> anyhow::Result<Vec<u8>> {
        let side = |length: f64| (length * PNG_SCALE) as i32;
        let surface = ImageSurface::create(Format::Rgb24, side(WIDTH), side(HEIGHT));
        let surface = surface.context("draw the plot")?;
        self.paint(&surface).context("draw the plot")?;
        let mut png = Vec::new();
        surface.write_to_png(&mut png).context("encode the plot as PNG")?;
        Ok(png)
    }

    fn paint(&self, surface: &ImageSurface) -> Result<(), cairo::Error> {
        let context = cairo::Context::new(surface)?;
        context.scale(PNG_SCALE, PNG_SCALE);
        context.set_line_cap(LineCap::Round);
        context.select_font_face("sans-serif", FontSlant::Normal, FontWeight::Normal);
        context.set_font_size(FONT_SIZE);
        let ink = |colour: Rgb| {
            let [_, r, g, b] = colour.to_be_bytes().map(|v| f64::from(v) / 255.0);
            context.set_source_rgb(r, g, b);
        };
        for shape in &self.0 {
            match shape {
                Shape::Rect([x, y, width, height], colour) => {
                    ink(*colour);
                    context.rectangle(*x, *y, *width, *height);
                    context.fill()?;
                }
                Shape::Line { points, colour, width, dashes } => {
                    ink(*colour);
                    context.set_line_width(*width);
                    context.set_dash(dashes, 0.0);
                    points.iter().for_each(|(x, y)| context.line_to(*x, *y));
                    context.stroke()?;
                }
                Shape::Text { at: (x, y), anchor, colour, text } => {
                    ink(*colour);
                    let width = context.text_extents(text)?.x_advance();
                    let part = match anchor {
                        Anchor::Start => 0.0,
                        Anchor::Middle => width / 2.0,
                        Anchor::End => width,
                    };
                    context.move_to(x - part, *y);
                    context.show_text(text)?;
                    // Showing text leaves its end as the beginning of the next line.
                    context.new_path();
                }
            }
        }
        Ok(())
    }
}
