//! The properties that a configuration sets of an element.

use std::collections::BTreeMap;
use std::fmt;

use gst::glib;
use gst::prelude::*;

use crate::AnalyzeError;
use crate::elements;

/// An element and what of its properties is not the default. The values were checked against the
/// element when the configuration was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    element: &'static str,
    values: BTreeMap<String, String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // Not the values: an address may tell more than whoever reads a log should know.
        f.debug_struct(self.element).field("set", &self.values.keys()).finish()
    }
}

impl Settings {
    pub(super) fn new(element: &'static str, values: BTreeMap<String, String>) -> Self {
        Self { element, values }
    }

    /// Factory of the element.
    pub fn element(&self) -> &'static str {
        self.element
    }

    /// What a property is set to, as text.
    pub fn get(&self, property: &str) -> Option<&str> {
        self.values.get(property).map(String::as_str)
    }

    /// Properties and their values as text, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The element, with these properties; `name` is unique in the pipeline.
    ///
    /// # Errors
    /// If there is no such element, or it does not take a value after all.
    pub fn make(&self, name: &str) -> Result<gst::Element, AnalyzeError> {
        let element = elements::make(self.element, name)?;
        for (property, value) in self.iter() {
            set(&element, property, Some(value))?;
        }
        Ok(element)
    }

    /// Would the element start with these settings, as far as they alone decide?
    pub(super) fn check(&self) -> Result<(), String> {
        let element = self.make(self.element).map_err(|error| error.to_string())?;
        gstface::check_settings(&element)
    }
}

/// Sets a property by its text; `None`: back to the default.
///
/// # Errors
/// If the element has no such property, or does not take the value.
pub fn set(element: &gst::Element, property: &str, text: Option<&str>) -> Result<(), AnalyzeError> {
    let fail = |reason: String| AnalyzeError::Property {
        element: element.factory().map(|f| f.name().to_string()).unwrap_or_default(),
        property: property.to_owned(),
        reason,
    };
    let spec = element.find_property(property);
    let spec = spec.ok_or_else(|| fail("the element has no such property".to_owned()))?;
    let value = match text {
        Some(text) => elements::value(&spec, text, "the value").map_err(fail)?,
        None => spec.default_value().clone(),
    };
    element.set_property_from_value(property, &value);
    Ok(())
}

/// Can the property change while the element plays?
pub(super) fn is_live(spec: &glib::ParamSpec) -> bool {
    spec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING)
}
