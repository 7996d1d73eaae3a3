//! Rules about whom, where and of what alerts are given: a JSON text.

use serde_json::{Map, Value};

use super::AlertKind;
use crate::gallery::Match;

/// Longer texts are no rules that somebody wrote.
const LONGEST_TEXT_BYTES: usize = 1 << 20;

/// What a rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    #[default]
    Alert,
    Ignore,
}

/// A rule fits when each of its conditions does; an empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertRule {
    pub action: Action,
    pub events: Vec<AlertKind>,
    /// Names or ids of people. Somebody unknown is none of them.
    pub persons: Vec<String>,
    /// Groups of which the person is in one.
    pub groups: Vec<String>,
    /// Zones of which one holds the face; when it disappeared, held it last.
    pub zones: Vec<String>,
}

/// Rules in their order: the first that fits decides. If none fits there is no alert, unless there
/// are no rules at all.
///
/// ```
/// use face_core::identity::alert::AlertRules;
///
/// // Nothing about Ada; of the others, the staff only at the door.
/// let rules: AlertRules = r#"[
///     {"persons": ["Ada Lovelace"], "action": "ignore"},
///     {"groups": ["staff"], "zones": ["door"]},
///     {"events": ["unknown-face"]}
/// ]"#
/// .parse()?;
/// assert_eq!(rules.rules().len(), 3);
///
/// let wrong = r#"[{"zones": ["door", 7]}]"#.parse::<AlertRules>();
/// assert_eq!(wrong.unwrap_err().to_string(), "alert rules: [0].zones[1] is 7, a string is wanted");
/// # Ok::<(), face_core::identity::alert::RuleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertRules(Vec<AlertRule>);

/// Why a text is no rules. `path` is that of the value, for instance `[0].zones[1]`.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("alert rules: not JSON, an array of objects is wanted")]
    Json(#[source] serde_json::Error),
    #[error("alert rules: {length} bytes long, at most 1048576 are read")]
    TooLong { length: usize },
    #[error("alert rules: {path} is {got}, {wanted} is wanted")]
    Value { path: String, got: String, wanted: &'static str },
    #[error(
        "alert rules: {path} is not known; a rule has action, events, persons, groups and zones"
    )]
    Key { path: String },
}

impl std::str::FromStr for AlertRules {
    type Err = RuleError;

    /// An empty text is no rules.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > LONGEST_TEXT_BYTES {
            return Err(RuleError::TooLong { length: text.len() });
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_str(text).map_err(RuleError::Json)?;
        let Value::Array(rules) = &value else {
            return Err(wrong("the text", &value, "an array of objects"));
        };
        let rules = rules.iter().enumerate().map(|(i, rule)| match rule {
            Value::Object(fields) => parse_rule(&format!("[{i}]"), fields),
            other => Err(wrong(&format!("[{i}]"), other, "an object")),
        });
        rules.collect::<Result<_, _>>().map(Self)
    }
}

impl AlertRules {
    pub fn rules(&self) -> &[AlertRule] {
        &self.0
    }

    /// Does any rule ask for the groups of people?
    pub fn want_groups(&self) -> bool {
        self.0.iter().any(|rule| !rule.groups.is_empty())
    }

    pub(super) fn permit(
        &self,
        kind: AlertKind,
        person: Option<&Match>,
        groups: &[String],
        zones: &[String],
    ) -> bool {
        let first = self.0.iter().find(|rule| rule.fits(kind, person, groups, zones));
        first.map_or(self.0.is_empty(), |rule| rule.action == Action::Alert)
    }
}

impl AlertRule {
    fn fits(
        &self,
        kind: AlertKind,
        person: Option<&Match>,
        groups: &[String],
        zones: &[String],
    ) -> bool {
        let is = |wanted: &String| {
            person.is_some_and(|p| *p.person_id == **wanted || *p.name == **wanted)
        };
        (self.events.is_empty() || self.events.contains(&kind))
            && (self.persons.is_empty() || self.persons.iter().any(is))
            && (self.groups.is_empty() || self.groups.iter().any(|g| groups.contains(g)))
            && (self.zones.is_empty() || self.zones.iter().any(|z| zones.contains(z)))
    }
}

/// The groups in the attributes of a person of the gallery: the string `group` and the array of
/// strings `groups`, either or both.
pub fn groups_of(attributes: &Value) -> Vec<String> {
    let one = attributes.get("group").and_then(Value::as_str);
    let several = attributes.get("groups").and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str)).map(str::to_owned).collect()
}

fn parse_rule(path: &str, fields: &Map<String, Value>) -> Result<AlertRule, RuleError> {
    let mut rule = AlertRule::default();
    for (key, value) in fields {
        let path = format!("{path}.{key}");
        match key.as_str() {
            "action" => rule.action = parse_action(&path, value)?,
            "events" => {
                let kind = |path: &str, value: &Value| {
                    let kind = value.as_str().and_then(AlertKind::parse);
                    kind.ok_or_else(|| {
                        let wanted =
                            "known-face, unknown-face, face-disappeared or identity-changed";
                        wrong(path, value, wanted)
                    })
                };
                rule.events = parse_list(&path, value, kind)?;
            }
            "persons" => rule.persons = parse_list(&path, value, parse_text)?,
            "groups" => rule.groups = parse_list(&path, value, parse_text)?,
            "zones" => rule.zones = parse_list(&path, value, parse_text)?,
            _ => return Err(RuleError::Key { path }),
        }
    }
    Ok(rule)
}

fn parse_action(path: &str, value: &Value) -> Result<Action, RuleError> {
    match value.as_str() {
        Some("alert") => Ok(Action::Alert),
        Some("ignore") => Ok(Action::Ignore),
        _ => Err(wrong(path, value, "alert or ignore")),
    }
}

/// An empty list would mean "any" to us, and likely "none" to whoever wrote it.
fn parse_list<T>(
    path: &str,
    value: &Value,
    parse: impl Fn(&str, &Value) -> Result<T, RuleError>,
) -> Result<Vec<T>, RuleError> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().enumerate();
            items.map(|(i, item)| parse(&format!("{path}[{i}]"), item)).collect()
        }
        other => Err(wrong(path, other, "an array of at least one string")),
    }
}

fn parse_text(path: &str, value: &Value) -> Result<String, RuleError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(path, value, "a string"))
}

fn wrong(path: &str, value: &Value, wanted: &'static str) -> RuleError {
    let mut got = value.to_string();
    if got.chars().count() > 60 {
        got = got.chars().take(60).chain(['…']).collect();
    }
    RuleError::Value { path: path.to_owned(), got, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Match {
        Match { person_id: "p-1".into(), name: "Ada".into(), similarity: 0.7 }
    }

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|s| (*s).to_owned()).collect()
    }

    fn permit(rules: &str, known: bool, groups: &[&str], zones: &[&str]) -> bool {
        let rules: AlertRules = rules.parse().unwrap();
        let (kind, person) = match known {
            true => (AlertKind::KnownFace, Some(person())),
            false => (AlertKind::UnknownFace, None),
        };
        rules.permit(kind, person.as_ref(), &texts(groups), &texts(zones))
    }

    #[test]
    fn without_rules_everything_alerts() {
        for none in ["", "  \n", "[]"] {
            assert!(permit(none, true, &[], &[]) && permit(none, false, &[], &[]), "{none:?}");
        }
    }

    #[test]
    fn first_rule_that_fits_decides_and_none_means_no_alert() {
        let mute = r#"[{"persons":["Ada"],"action":"ignore"},{}]"#;
        assert!(!permit(mute, true, &[], &[]));
        assert!(permit(mute, false, &[], &[]));
        assert!(!permit(r#"[{"persons":["Bob"]}]"#, true, &[], &[]));
        assert!(permit(r#"[{"persons":["p-1"]}]"#, true, &[], &[]), "by id");
        assert!(!permit(r#"[{"persons":["Ada"]}]"#, false, &[], &[]), "nobody is no person");
    }

    #[test]
    fn all_conditions_of_a_rule_must_fit() {
        let rule = r#"[{"groups":["staff","owners"],"zones":["door"],"events":["known-face"]}]"#;
        assert!(permit(rule, true, &["staff"], &["hall", "door"]));
        assert!(!permit(rule, true, &["guests"], &["door"]));
        assert!(!permit(rule, true, &["staff"], &["hall"]));
        assert!(!permit(rule, false, &["staff"], &["door"]));
        assert!(rule.parse::<AlertRules>().unwrap().want_groups());
        assert!(!"[{}]".parse::<AlertRules>().unwrap().want_groups());
    }

    #[test]
    fn text_that_is_no_rules_is_refused_with_its_place() {
        for (text, said) in [
            ("{", "not JSON"),
            ("{}", "the text is {}, an array of objects is wanted"),
            (r#"["x"]"#, r#"[0] is "x", an object is wanted"#),
            (r#"[{},{"person":["x"]}]"#, "[1].person is not known"),
            (r#"[{"persons":"Ada"}]"#, r#"[0].persons is "Ada", an array of at least one string"#),
            (r#"[{"zones":[]}]"#, "[0].zones is [], an array of at least one string is wanted"),
            (r#"[{"groups":["a",null]}]"#, "[0].groups[1] is null, a string is wanted"),
            (r#"[{"events":["known"]}]"#, r#"[0].events[0] is "known", known-face, unknown-face"#),
            (r#"[{"action":"mute"}]"#, r#"[0].action is "mute", alert or ignore is wanted"#),
        ] {
            let error = text.parse::<AlertRules>().unwrap_err().to_string();
            assert!(error.starts_with("alert rules: ") && error.contains(said), "{text}: {error}");
        }
        let long = format!("[{}]", " ".repeat(LONGEST_TEXT_BYTES));
        let error = long.parse::<AlertRules>().unwrap_err();
        assert!(matches!(error, RuleError::TooLong { .. }), "{error}");
        let deep = "[".repeat(100_000);
        assert!(matches!(deep.parse::<AlertRules>().unwrap_err(), RuleError::Json(_)));
    }

    #[test]
    fn groups_stand_in_the_attributes_of_a_person() {
        let groups = |text: &str| groups_of(&serde_json::from_str(text).unwrap());
        assert_eq!(groups(r#"{"group":"staff"}"#), ["staff"]);
        assert_eq!(groups(r#"{"group":"staff","groups":["owners",3,"staff"]}"#).len(), 3);
        for none in ["{}", r#"{"group":3,"groups":"x"}"#, "[]", "null"] {
            assert!(groups(none).is_empty(), "{none}");
        }
    }
}
