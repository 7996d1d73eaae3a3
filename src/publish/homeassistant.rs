//! Discovery of Home Assistant over MQTT: what is retained under its prefix appears there as a device
//! with its entities, without hand work.
//!
//! Fields are those of its documentation of MQTT discovery, binary sensors and sensors. Names of
//! people and cameras stand in `name` alone, which is no template there.

use serde_json::{Value, json};

use super::topic::{Topics, slug};

/// Where Home Assistant looks unless it is set up otherwise.
pub const DEFAULT_PREFIX: &str = "homeassistant";

/// Beginning of the ids of what we announce.
const OWN: &str = "gst-face";
/// What a state may have, characters.
const LONGEST_STATE: u32 = 255;

/// An entity: where its configuration is retained, and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    pub topic: String,
    pub config: Value,
}

/// What is announced of one camera.
#[derive(Clone, Debug)]
pub struct Discovery {
    prefix: String,
    topics: Topics,
    camera: String,
    /// Of the camera, unique among all that publish at the broker.
    node: String,
}

impl Discovery {
    /// `prefix` is that of Home Assistant; `base` the beginning of our topics, so that two of them may
    /// have a camera of the same name.
    pub fn new(prefix: &str, base: &str, camera: &str, topics: &Topics) -> Self {
        Self {
            prefix: prefix.to_owned(),
            topics: topics.clone(),
            camera: camera.to_owned(),
            node: format!("{OWN}-{}", slug(&format!("{base}/{camera}"))),
        }
    }

    /// What there is of the camera itself: how many faces are seen, and who.
    pub fn camera(&self) -> Vec<Entity> {
        let state = self.topics.state();
        let faces = json!({
            "name": "Faces",
            "icon": "mdi:face-recognition",
            "state_topic": state,
            "value_template": "{{ value_json.faces }}",
            "state_class": "measurement",
        });
        let people = json!({
            "name": "People",
            "icon": "mdi:account-multiple",
            "state_topic": state,
            "value_template":
                format!("{{{{ (value_json.people | join(', '))[:{LONGEST_STATE}] or 'nobody' }}}}"),
            "json_attributes_topic": state,
        });
        vec![self.entity("sensor", "faces", faces), self.entity("sensor", "people", people)]
    }

    /// A person: seen or not, and when last.
    pub fn person(&self, person_id: &str, name: &str) -> Vec<Entity> {
        let topic = self.topics.person(person_id);
        let id = slug(person_id);
        let seen = json!({
            "name": name,
            "state_topic": topic,
            "value_template": "{{ value_json.present }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "device_class": "occupancy",
            "json_attributes_topic": topic,
        });
        let last = json!({
            "name": format!("{name} last seen"),
            "state_topic": topic,
            "value_template": "{{ value_json.last_seen }}",
            "device_class": "timestamp",
        });
        vec![
            self.entity("binary_sensor", &format!("person-{id}"), seen),
            self.entity("sensor", &format!("person-{id}-last-seen"), last),
        ]
    }

    fn entity(&self, component: &str, object: &str, mut config: Value) -> Entity {
        let version = env!("CARGO_PKG_VERSION");
        let device = json!({
            "identifiers": [self.node],
            "name": format!("Faces {}", self.camera),
            "manufacturer": OWN,
            "model": "facepublish",
            "sw_version": version,
        });
        let availability = json!([{
            "topic": self.topics.status(),
            "payload_available": "online",
            "payload_not_available": "offline",
        }]);
        if let Some(fields) = config.as_object_mut() {
            fields.insert("unique_id".to_owned(), json!(format!("{}-{object}", self.node)));
            fields.insert("availability".to_owned(), availability);
            fields.insert("device".to_owned(), device);
            fields.insert("origin".to_owned(), json!({"name": OWN, "sw_version": version}));
            fields.insert("qos".to_owned(), json!(1));
        }
        let topic = format!("{}/{component}/{}/{object}/config", self.prefix, self.node);
        Entity { topic, config }
    }
}
