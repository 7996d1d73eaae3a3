//! The element's properties.

use gst::prelude::*;

use super::DEFAULT_FONT;
use super::scene::DrawOptions;
use super::text::{LabelParts, SimilarityFormat};

/// The widest line that can be asked for, in rows.
const MAX_LINE_WIDTH: u32 = 64;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    draw_boxes: bool,
    draw_landmarks: bool,
    draw_names: bool,
    draw_similarity: bool,
    draw_predicted: bool,
    draw_track_ids: bool,
    similarity_format: SimilarityFormat,
    font: String,
    line_width: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            draw_boxes: true,
            draw_landmarks: true,
            draw_names: true,
            draw_similarity: true,
            draw_predicted: true,
            draw_track_ids: false,
            similarity_format: SimilarityFormat::default(),
            font: DEFAULT_FONT.to_owned(),
            line_width: 0,
        }
    }
}

impl Settings {
    pub(super) fn options(&self) -> DrawOptions {
        DrawOptions {
            boxes: self.draw_boxes,
            landmarks: self.draw_landmarks,
            predicted: self.draw_predicted,
            label: LabelParts {
                name: self.draw_names,
                similarity: self.draw_similarity.then_some(self.similarity_format),
                track_id: self.draw_track_ids,
            },
            line_width: self.line_width,
            font: self.font.clone(),
        }
    }

    pub(super) fn specs() -> Vec<glib::ParamSpec> {
        let defaults = Settings::default();
        let flag = |name: &str, nick: &str, blurb: &str, default: bool| {
            glib::ParamSpecBoolean::builder(name)
                .nick(nick)
                .blurb(blurb)
                .default_value(default)
                .mutable_playing()
                .build()
        };
        vec![
            crate::stats::property(),
            flag(
                "draw-boxes",
                "Draw boxes",
                "Draw the outline of every face.",
                defaults.draw_boxes,
            ),
            flag(
                "draw-landmarks",
                "Draw landmarks",
                "Draw eyes, nose tip and corners of the mouth of every face that was seen.",
                defaults.draw_landmarks,
            ),
            flag(
                "draw-names",
                "Draw names",
                "Write the name of every face, or its status where it has none.",
                defaults.draw_names,
            ),
            flag(
                "draw-similarity",
                "Draw similarity",
                "Write the similarity with the named person beside the name.",
                defaults.draw_similarity,
            ),
            flag(
                "draw-predicted",
                "Draw predicted faces",
                "Draw faces whose place was predicted and not seen on this frame, dashed.",
                defaults.draw_predicted,
            ),
            flag(
                "draw-track-ids",
                "Draw track ids",
                "Write the id of the track beside the name.",
                defaults.draw_track_ids,
            ),
            glib::ParamSpecEnum::builder_with_default(
                "similarity-format",
                defaults.similarity_format,
            )
            .nick("Similarity format")
            .blurb("How the similarity is written.")
            .mutable_playing()
            .build(),
            glib::ParamSpecString::builder("font")
                .nick("Font")
                .blurb(
                    "Font of the labels as a Pango description, such as \"Noto Sans Bold\". A \
                     size in it counts picture rows; without one, the type follows the picture: \
                     1/36 of its shorter side, at least 11 rows.",
                )
                .default_value(Some(defaults.font.as_str()))
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("line-width")
                .nick("Line width")
                .blurb(
                    "Width of the boxes' lines in picture rows; 0 = follow the picture: 1/300 of \
                     its shorter side.",
                )
                .maximum(MAX_LINE_WIDTH)
                .default_value(defaults.line_width)
                .mutable_playing()
                .build(),
        ]
    }

    /// Sets the property `name`. GLib has checked type and range.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        fn store<T: for<'a> glib::value::FromValue<'a>>(field: &mut T, value: &glib::Value) {
            if let Ok(value) = value.get::<T>() {
                *field = value;
            }
        }
        match name {
            "draw-boxes" => store(&mut self.draw_boxes, value),
            "draw-landmarks" => store(&mut self.draw_landmarks, value),
            "draw-names" => store(&mut self.draw_names, value),
            "draw-similarity" => store(&mut self.draw_similarity, value),
            "draw-predicted" => store(&mut self.draw_predicted, value),
            "draw-track-ids" => store(&mut self.draw_track_ids, value),
            "similarity-format" => store(&mut self.similarity_format, value),
            "line-width" => store(&mut self.line_width, value),
            "font" => {
                // NULL asks for the default.
                self.font = match value.get::<Option<String>>() {
                    Ok(Some(font)) => font,
                    _ => Settings::default().font,
                };
            }
            _ => {}
        }
    }

    /// The property `name`, or `None` if there is none.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "draw-boxes" => self.draw_boxes.to_value(),
            "draw-landmarks" => self.draw_landmarks.to_value(),
            "draw-names" => self.draw_names.to_value(),
            "draw-similarity" => self.draw_similarity.to_value(),
            "draw-predicted" => self.draw_predicted.to_value(),
            "draw-track-ids" => self.draw_track_ids.to_value(),
            "similarity-format" => self.similarity_format.to_value(),
            "line-width" => self.line_width.to_value(),
            "font" => self.font.to_value(),
            _ => return None,
        })
    }
}
