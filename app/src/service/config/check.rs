//! What has to fit together in a configuration, beyond single values.

use std::collections::BTreeSet;

use face_core::identity::alert::AlertRules;
use face_core::zone::Zones;
use serde_json::Value;

use super::draft::{Draft, Given, Part, Reader, join};
use super::yaml::Place;

/// Most characters of a camera's name.
const LONGEST_NAME: usize = 64;

/// A camera's name is part of topics, of keys of objects and of messages.
pub(super) fn name(name: &str) -> Result<(), String> {
    let length = name.chars().count();
    if name.trim() != name
        || name.chars().any(char::is_control)
        || !(1..=LONGEST_NAME).contains(&length)
    {
        return Err(format!(
            "a name has 1 to {LONGEST_NAME} characters, no blanks around them and no control characters"
        ));
    }
    Ok(())
}

/// The mount of a camera that names none: what of its name can stand in every address.
pub(super) fn mount_of(name: &str) -> String {
    let kept = |c: char| if is_plain(c) { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(kept).collect()
}

pub(super) fn mount(mount: &str) -> Result<(), String> {
    let parts = mount.strip_prefix('/').unwrap_or(mount).split('/');
    let fits =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain);
    if mount.len() <= 200 && parts.clone().all(fits) {
        return Ok(());
    }
    Err("letters, digits, '-', '_' and '.' are wanted, and '/' between them".to_owned())
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// What a camera has to have, and what does nothing where something else is missing.
pub(super) fn camera(reader: &mut Reader, path: &str, place: Place, draft: &Draft) {
    source(reader, path, place, draft.parts.get("source"));
    let mut seen = BTreeSet::new();
    for target in draft.publish.iter().flatten() {
        let address = target.values.as_ref().and_then(|v| v.get("target"));
        let address = address.map_or("stdout", |given| given.text.as_str());
        if !seen.insert(address) {
            let reason = "the same target twice: put both into one";
            reader.fault(target.place, &target.path, reason);
        }
    }
}

/// What a camera itself, or `defaults`, says twice over.
pub(super) fn draft(reader: &mut Reader, draft: &Draft) {
    let off = draft.parts.get("recognition").is_some_and(|part| part.values.is_none());
    if off && let Some(alerts) = draft.parts.get("alerts") {
        let reason = "there are no alerts where recognition is false";
        reader.fault(alerts.place, &alerts.path, reason);
    }
}

fn source(reader: &mut Reader, path: &str, place: Place, part: Option<&Part>) {
    let uri = part.and_then(|part| part.values.as_ref()?.get("uri"));
    let Some(Given { text, place, path }) = uri else {
        let place = part.map_or(place, |part| part.place);
        let reason = "is missing: the address of a camera, a device or a file";
        return reader.fault(place, &join(path, "source"), reason);
    };
    let host = text.split_once("://").map(|(_, rest)| rest);
    let host = host.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if host.is_some_and(|host| host.contains('@')) {
        let reason = "user and password do not belong into an address, where everybody sees them: \
                      write uri, username and password-env or password-file";
        reader.fault(*place, path, reason);
    } else if text.contains("${") {
        reader.fault(
            *place,
            path,
            "nothing is filled into an address: see username and password-env",
        );
    }
}

/// Zones that are named must be there: those of a camera's own rules in the camera, those of
/// `defaults` in any camera.
pub(super) fn zones(reader: &mut Reader, defaults: &Draft, cameras: &[&Draft]) {
    let common = names(defaults.zones.as_ref());
    let mut all = common.clone();
    for draft in cameras {
        let own = match &draft.zones {
            Some(zones) => names(Some(zones)),
            None => common.clone(),
        };
        named_zones(reader, draft, &own);
        all.extend(own);
    }
    named_zones(reader, defaults, &all);
}

/// Names of the zones that a face can be in.
fn names(zones: Option<&Given>) -> BTreeSet<String> {
    let zones = zones.and_then(|given| given.text.parse::<Zones>().ok()).unwrap_or_default();
    zones.iter().filter(|zone| !zone.exclude).map(|zone| zone.name.to_string()).collect()
}

fn named_zones(reader: &mut Reader, draft: &Draft, known: &BTreeSet<String>) {
    let value = |section: &str, property: &str| {
        draft.parts.get(section).and_then(|part| part.values.as_ref()?.get(property))
    };
    let mut wanted: Vec<(&Given, Vec<String>)> = Vec::new();
    if let Some(given) = value("recognition", "required-zones") {
        let names = given.text.split(',').map(|name| name.trim().to_owned());
        wanted.push((given, names.collect()));
    }
    if let Some(given) = value("alerts", "alert-rules") {
        // What is wrong with them, and those of a file, are the element's own business.
        let rules = given.text.parse::<AlertRules>().unwrap_or_default();
        let zones = rules.rules().iter().flat_map(|rule| rule.zones.clone());
        wanted.push((given, zones.collect()));
    }
    for target in draft.publish.iter().flatten() {
        if let Some(given) = target.values.as_ref().and_then(|values| values.get("notify")) {
            wanted.push((given, zones_of_rules(&given.text)));
        }
    }
    for (given, names) in wanted {
        for name in names.iter().filter(|name| !known.contains(*name)) {
            reader.fault(given.place, &given.path, format!("there is no zone '{name}'"));
        }
    }
}

fn zones_of_rules(json: &str) -> Vec<String> {
    let rules: Value = serde_json::from_str(json).unwrap_or_default();
    let zones = rules.as_array().into_iter().flatten().filter_map(|rule| rule["zones"].as_array());
    zones.flatten().filter_map(|zone| zone.as_str().map(str::to_owned)).collect()
}
