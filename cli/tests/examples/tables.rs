//! The tables of the documentation that are those of the code.

use std::collections::BTreeMap;

use face_core::model::{self, ModelSpec};
use face_pipeline::service::config;
use gst::glib;
use gst::prelude::*;

/// The elements with a property `stats`.
const ELEMENTS: [&str; 6] =
    ["onnxfacedetect", "facetrack", "facerecognize", "faceannotate", "clipsink", "facepublish"];

/// Puts the tables of the code between the marks `<!-- properties ELEMENT -->`, `<!-- keys SECTION -->`,
/// `<!-- stats -->` or `<!-- models -->` and `<!-- end -->`.
pub(crate) fn with_tables(document: &str) -> String {
    let mut result = String::new();
    let mut in_table = false;
    for line in document.lines() {
        if line == "<!-- end -->" {
            in_table = false;
        }
        if !in_table {
            result.push_str(line);
            result.push('\n');
        }
        if let Some(element) = line.strip_prefix("<!-- properties ") {
            result.push_str(&properties(element.trim_end_matches(" -->")));
            in_table = true;
        } else if line == "<!-- stats -->" {
            result.push_str(&stats());
            in_table = true;
        } else if let Some(section) = line.strip_prefix("<!-- keys ") {
            result.push_str(&keys(section.trim_end_matches(" -->")));
            in_table = true;
        } else if line == "<!-- models -->" {
            result.push_str(&models());
            in_table = true;
        }
    }
    result
}

/// The fields of all `stats`: which elements have them, of what type, and what they mean.
fn stats() -> String {
    let mut found = BTreeMap::<String, (Vec<&str>, &str)>::new();
    for factory in ELEMENTS {
        let element = gst::ElementFactory::make(factory).build().unwrap();
        for (field, value) in element.property::<gst::Structure>("stats").iter() {
            let kind = value.type_().name().trim_start_matches('g');
            let (elements, before) = found.entry(field.to_string()).or_insert((vec![], kind));
            assert_eq!(*before, kind, "{factory}: {field} is of another type elsewhere");
            elements.push(factory);
        }
    }
    let mut table = "| field | of | type | meaning |\n|---|---|---|---|\n".to_owned();
    for (field, meaning) in gstface::stats::FIELDS {
        let (elements, kind) = found.remove(*field).unwrap_or_else(|| panic!("nobody has {field}"));
        let elements = match elements.len() == ELEMENTS.len() {
            true => "all".to_owned(),
            false => elements.iter().map(|e| format!("`{e}`")).collect::<Vec<_>>().join(", "),
        };
        table.push_str(&format!("| `{field}` | {elements} | {kind} | {meaning} |\n"));
    }
    assert!(found.is_empty(), "not in gstface::stats::FIELDS: {found:?}");
    table
}

/// The element's own properties, not those of its base class.
fn properties(factory: &str) -> String {
    let element = gst::ElementFactory::make(factory).build().unwrap();
    let own = |spec: &&glib::ParamSpec| spec.owner_type() == element.type_();
    let specs = element.list_properties();
    let mut specs: Vec<&glib::ParamSpec> = specs.iter().filter(own).collect();
    specs.sort_by_key(|spec| spec.name());
    let mut table =
        "| property | type | default | can be set | meaning |\n|---|---|---|---|---|\n".to_owned();
    for spec in specs {
        let (default, when) = if spec.flags().contains(glib::ParamFlags::WRITABLE) {
            let value = element.property_value(spec.name());
            let (shown, declared) = (shown(&value), shown(spec.default_value()));
            assert_eq!(shown, declared, "{factory}: {} is not its declared default", spec.name());
            (shown, when(spec))
        } else {
            (String::new(), "read only")
        };
        table.push_str(&format!(
            "| `{}` | {} | {default} | {when} | {} |\n",
            spec.name(),
            kind(spec),
            spec.blurb().unwrap_or_default().trim_end_matches('.').replace('|', "\\|")
        ));
    }
    table
}

/// Sections that are explained where their table is; what the others mean stands with the elements.
const EXPLAINED: [&str; 5] = ["models", "spool", "http", "rtsp", "output"];

/// The keys of a section of facectl run's configuration.
fn keys(section: &str) -> String {
    let rows = config::rows(section).unwrap().unwrap_or_else(|| panic!("no section {section}"));
    let explained = EXPLAINED.contains(&section);
    let last = if explained { "meaning" } else { "live" };
    let mut table = format!("| key | value | default | {last} |\n|---|---|---|---|\n");
    for row in rows {
        let default = match row.default.as_str() {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let last = match (explained, row.live) {
            (true, _) => row.meaning.replace('|', "\\|"),
            (false, true) => "yes".to_owned(),
            (false, false) => String::new(),
        };
        table.push_str(&format!("| `{}` | {} | {default} | {last} |\n", row.key, row.value));
    }
    table
}

fn when(spec: &glib::ParamSpec) -> &'static str {
    if spec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
        "always"
    } else if spec.flags().contains(gst::PARAM_FLAG_MUTABLE_READY) {
        "before PAUSED"
    } else {
        panic!("{} does not say when it can be set", spec.name())
    }
}

fn shown(value: &glib::Value) -> String {
    if let Ok(text) = value.get::<Option<String>>() {
        return text.map_or("unset".to_owned(), |text| format!("`{text}`"));
    }
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return format!("`{}`", value.nick());
    }
    if let Some((_, flags)) = glib::FlagsValue::from_value(value) {
        let nicks: Vec<_> = flags.iter().map(|flag| flag.nick()).collect();
        return format!("`{}`", nicks.join("+"));
    }
    if let Ok(number) = value.get::<f32>() {
        return number.to_string();
    }
    if let Ok(flag) = value.get::<bool>() {
        return flag.to_string();
    }
    if let Ok(number) = value.get::<u32>() {
        return number.to_string();
    }
    if let Ok(number) = value.get::<i32>() {
        return number.to_string();
    }
    value.get::<u64>().map(|number| number.to_string()).unwrap()
}

fn kind(spec: &glib::ParamSpec) -> String {
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFloat>() {
        return format!("float {}..{}", spec.minimum(), spec.maximum());
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecInt>() {
        let (least, most) = (spec.minimum(), spec.maximum());
        let most = if most == i32::MAX { String::new() } else { most.to_string() };
        return format!("int {least}..{most}");
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt>() {
        return integer("uint", spec.minimum().into(), spec.maximum().into(), u32::MAX.into());
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt64>() {
        return integer("uint64", spec.minimum(), spec.maximum(), u64::MAX);
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecEnum>() {
        return nicks(&spec.enum_class());
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFlags>() {
        let nicks: Vec<_> =
            spec.flags_class().values().iter().map(|v| format!("`{}`", v.nick())).collect();
        return format!("flags {}", nicks.join(", "));
    }
    match spec.value_type().name() {
        "gboolean" => "boolean".to_owned(),
        "gchararray" => "string".to_owned(),
        name => name.to_owned(),
    }
}

/// A long row of numbers by the first and the last of them.
fn nicks(class: &glib::EnumClass) -> String {
    let all = class.values().iter().map(|value| value.nick());
    let (numbers, mut shown): (Vec<&str>, Vec<&str>) =
        all.partition(|nick| nick.parse::<u32>().is_ok());
    match numbers[..] {
        [first, _, .., last] => shown.extend([first, "…", last]),
        _ => shown.extend(numbers),
    }
    let quoted = |nick: &&str| if *nick == "…" { "…".to_owned() } else { format!("`{nick}`") };
    shown.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

fn integer(name: &str, least: u64, most: u64, unlimited: u64) -> String {
    if most == unlimited { format!("{name} {least}..") } else { format!("{name} {least}..{most}") }
}

/// The registry.
fn models() -> String {
    let mut table = "| name | task | size | licence of the weights | commercial use | trained on | what it is |\n|---|---|---|---|---|---|---|\n".to_owned();
    for spec in model::registry() {
        let default = spec.id == model::DEFAULT_DETECTOR || spec.id == model::DEFAULT_EMBEDDER;
        table.push_str(&format!(
            "| `{}`{} | {} | {} kB | {} | {} | {} | {}{} |\n",
            spec.id,
            if default { " (default)" } else { "" },
            spec.task,
            spec.file.bytes.div_ceil(1000),
            spec.licence,
            if spec.commercial { "yes" } else { "no" },
            spec.training_data,
            spec.description,
            address(spec)
        ));
    }
    table
}

fn address(spec: &ModelSpec) -> &'static str {
    match (&spec.file.url, spec.file.url_verified) {
        (None, _) => "; no address, bring your own file",
        (Some(_), false) => "; address not verified",
        (Some(_), true) => "",
    }
}
