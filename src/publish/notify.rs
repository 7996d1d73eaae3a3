//! Rules about which events are told: a JSON text, of the form of the rules of alerts.

use serde::Deserialize;

use crate::event::FaceEvent;

/// Longer texts are no rules that somebody wrote.
const LONGEST_TEXT_BYTES: usize = 1 << 20;

/// Why a text is no rules.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("notify rules: an array of objects with events, persons, zones and action is wanted")]
    Json(#[source] serde_json::Error),
    #[error("notify rules: {length} bytes long, at most 1048576 are read")]
    TooLong { length: usize },
    #[error(
        "notify rules: groups of people are not known here: use the alert-rules of facerecognize"
    )]
    Groups,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    Alert,
    Ignore,
}

/// A rule fits when each of its conditions does; an empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    action: Action,
    events: Vec<String>,
    persons: Vec<String>,
    zones: Vec<String>,
    /// Of the rules of alerts: named here so that it can be said what is wrong with it.
    groups: Vec<String>,
}

/// Rules in their order: the first that fits decides. If none fits an event is not told, unless there
/// are no rules at all.
///
/// ```
/// use face_core::event::FaceEvent;
/// use face_core::publish::NotifyRules;
///
/// let rules: NotifyRules = r#"[{"events": ["unknown-face"]}]"#.parse()?;
/// let event = FaceEvent { kind: "known-face".into(), ..FaceEvent::default() };
/// assert!(!rules.permit(&event, &[]));
/// # Ok::<(), face_core::publish::NotifyError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyRules(Vec<Rule>);

impl std::str::FromStr for NotifyRules {
    type Err = NotifyError;

    /// An empty text is no rules.
    fn from_str(text: &str) -> Result<Self, NotifyError> {
        if text.len() > LONGEST_TEXT_BYTES {
            return Err(NotifyError::TooLong { length: text.len() });
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let rules: Vec<Rule> = serde_json::from_str(text).map_err(NotifyError::Json)?;
        if rules.iter().any(|rule| !rule.groups.is_empty()) {
            return Err(NotifyError::Groups);
        }
        Ok(Self(rules))
    }
}

impl NotifyRules {
    /// Is this event told? `zones` are those that hold the face of its track.
    pub fn permit(&self, event: &FaceEvent, zones: &[String]) -> bool {
        let first = self.0.iter().find(|rule| rule.fits(event, zones));
        first.map_or(self.0.is_empty(), |rule| rule.action == Action::Alert)
    }
}

impl Rule {
    fn fits(&self, event: &FaceEvent, zones: &[String]) -> bool {
        let is = |wanted: &String| {
            [&event.person_id, &event.name].into_iter().any(|own| own.as_ref() == Some(wanted))
        };
        let holds = |zone: &String| event.zone.as_ref() == Some(zone) || zones.contains(zone);
        (self.events.is_empty() || self.events.contains(&event.kind))
            && (self.persons.is_empty() || self.persons.iter().any(is))
            && (self.zones.is_empty() || self.zones.iter().any(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, name: Option<&str>, zone: Option<&str>) -> FaceEvent {
        let (name, zone) = (name.map(str::to_owned), zone.map(str::to_owned));
        FaceEvent { kind: kind.into(), name, zone, ..FaceEvent::default() }
    }

    #[test]
    fn first_rule_that_fits_decides() {
        let rules: NotifyRules = r#"[
            {"persons": ["Ada"], "action": "ignore"},
            {"events": ["known-face"], "zones": ["door"]},
            {"events": ["zone-enter"]}
        ]"#
        .parse()
        .unwrap();
        let door = ["door".to_owned()];
        assert!(!rules.permit(&event("known-face", Some("Ada"), None), &door));
        assert!(rules.permit(&event("known-face", Some("Bob"), None), &door));
        assert!(!rules.permit(&event("known-face", Some("Bob"), None), &[]));
        assert!(rules.permit(&event("zone-enter", None, Some("hall")), &[]));
        assert!(!rules.permit(&event("zone-exit", None, Some("door")), &door));
        for none in ["", " \n"] {
            let rules: NotifyRules = none.parse().unwrap();
            assert!(rules.permit(&event("anything", None, None), &[]));
        }
        let rules: NotifyRules = "[]".parse().unwrap();
        assert!(rules.permit(&event("anything", None, None), &[]));
    }

    #[test]
    fn what_is_wrong_with_rules_is_told() {
        let error = |text: &str| {
            let error = text.parse::<NotifyRules>().unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        };
        assert!(error(r#"[{"person": ["Ada"]}]"#).contains("`person`"));
        assert!(error(r#"[{"action": "shout"}]"#).contains("`shout`"));
        assert!(error(r#"{"events": []}"#).contains("array"));
        assert!(error(r#"[{"groups": ["staff"]}]"#).contains("alert-rules"));
        assert!(error(&" ".repeat(LONGEST_TEXT_BYTES + 1)).contains("bytes long"));
    }
}
