//! Messages about clips: the alert at once, the link to the clip when it is stored.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::sidecar::Trigger;
use crate::event::FaceEvent;
use crate::model;
use crate::outbox::{
    Channel, Delivery, Entry, EntryId, Exec, LinkTo, Message, Template, Values, Webhook,
};

/// What is sent when a clip is stored, unless there is a template.
pub const STORED_TEMPLATE: &str = concat!(
    r#"{"schema":"face-clip-stored/1","event_id":{event_id},"event":{event},"camera":{camera},"#,
    r#""name":{name},"person_id":{person_id},"track":{track},"similarity":{similarity},"#,
    r#""zone":{zone},"time":{time},"key":{key},"url":{url},"expires_at":{expires_at}}"#
);

/// Who is told of events and clips. The message of a target is replaced with each that is sent.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    pub webhook: Option<Webhook>,
    pub exec: Option<Exec>,
    /// Of an event; without one the event is sent as JSON.
    pub alert: Option<Template>,
    /// Of a stored clip; without one [`STORED_TEMPLATE`].
    pub stored: Option<Template>,
}

/// A message that waits for a clip to be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FollowUp {
    pub id: EntryId,
    pub delivery: Delivery,
}

impl Notify {
    /// Is there anybody to be told?
    pub fn is_empty(&self) -> bool {
        self.webhook.is_none() && self.exec.is_none()
    }

    /// The alert of an event, for every target. The same event gives entries with the same ids.
    ///
    /// # Errors
    /// A text, if the event cannot be a message.
    pub fn alerts(&self, event: &FaceEvent) -> Result<Vec<Entry>, String> {
        let message = match &self.alert {
            Some(template) => template.fill(&Values::of(event)),
            None => Message::json(event).map_err(|error| error.to_string())?,
        };
        Ok(self
            .deliveries(&message, None)
            .map(|(target, delivery)| Entry::new(delivery).with_id(id("alert", &event.id, target)))
            .collect())
    }

    /// What is sent when the object `key` of a clip is stored: a message per event and target.
    ///
    /// # Errors
    /// A text, if there is no such message.
    pub fn follow_ups(
        &self,
        camera: &str,
        trigger: &Trigger,
        link: &LinkTo,
    ) -> Result<Vec<FollowUp>, String> {
        let default =
            || Template::parse(STORED_TEMPLATE, Channel::Json).map_err(|error| error.to_string());
        let template = self.stored.clone().map_or_else(default, Ok)?;
        let message = template.fill(&values(camera, trigger, &link.key));
        let named = |(target, delivery)| FollowUp {
            // One event may be in several clips.
            id: id("stored", &format!("{}\n{}", trigger.id, link.key), target),
            delivery,
        };
        Ok(self.deliveries(&message, Some(link)).map(named).collect())
    }

    fn deliveries(
        &self,
        message: &Message,
        link: Option<&LinkTo>,
    ) -> impl Iterator<Item = (&'static str, Delivery)> {
        let link = link.filter(|_| message.has_link());
        let webhook = self.webhook.clone().map(|webhook| {
            Delivery::from(Webhook { message: message.clone(), link: link.cloned(), ..webhook })
        });
        let exec = self.exec.clone().map(|exec| {
            Delivery::from(Exec { message: message.clone(), link: link.cloned(), ..exec })
        });
        webhook.map(|d| ("webhook", d)).into_iter().chain(exec.map(|d| ("exec", d)))
    }
}

fn values(camera: &str, trigger: &Trigger, key: &str) -> Values {
    Values {
        name: trigger.name.clone(),
        person_id: trigger.person_id.clone(),
        camera: (!camera.is_empty()).then(|| camera.to_owned()),
        event: Some(trigger.event.clone()),
        event_id: Some(trigger.id.clone()),
        track: trigger.track_id,
        similarity: trigger.similarity.map(f64::from),
        zone: trigger.zone.clone(),
        time: trigger.utc.clone(),
        key: Some(key.to_owned()),
    }
}

/// The id of a message: a hash, because the id of an event may be anything.
fn id(kind: &str, of: &str, target: &str) -> EntryId {
    let digest = model::hex(&Sha256::digest(of.as_bytes()));
    let digest = digest.get(..32).unwrap_or_default();
    EntryId::new(&format!("{kind}-{digest}-{target}"))
        .expect("letters, digits and hyphens, fewer than 128")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Address;

    fn nothing() -> Message {
        Message::json(&()).unwrap()
    }

    fn notify() -> Notify {
        let address = Address::Plain("https://example.org/hook".to_owned());
        Notify {
            webhook: Some(Webhook::new(address, nothing())),
            exec: Some(Exec::new("true", vec!["a".to_owned()], nothing())),
            ..Notify::default()
        }
    }

    fn event() -> FaceEvent {
        FaceEvent {
            id: "../e\n1".into(),
            kind: "known-face".into(),
            name: Some("Ada \"x\"".into()),
            ..FaceEvent::default()
        }
    }

    fn text(delivery: &Delivery) -> Option<String> {
        match delivery {
            Delivery::Webhook(webhook) => webhook.message.text(),
            Delivery::Exec(exec) => exec.message.text(),
            _ => None,
        }
    }

    #[test]
    fn alert_is_the_event_for_every_target_and_the_same_event_has_the_same_ids() {
        let entries = notify().alerts(&event()).unwrap();
        assert_eq!(entries.len(), 2);
        for entry in &entries {
            assert_eq!(text(&entry.delivery), Some(event().to_json()));
            entry.delivery.check().unwrap();
        }
        assert_ne!(entries[0].id, entries[1].id);
        assert_eq!(notify().alerts(&event()).unwrap(), entries);
        let other = FaceEvent { id: "2".into(), ..event() };
        assert_ne!(notify().alerts(&other).unwrap()[0].id, entries[0].id);
        assert!(Notify::default().alerts(&event()).unwrap().is_empty());
        assert!(Notify::default().is_empty() && !notify().is_empty());
    }

    #[test]
    fn templates_make_both_messages() {
        let template = |text| Some(Template::parse(text, Channel::Text).unwrap());
        let notify = Notify {
            alert: template("{name} is there"),
            stored: template("{name}: {key}"),
            ..notify()
        };
        let alert = notify.alerts(&event()).unwrap();
        assert_eq!(text(&alert[0].delivery).unwrap(), "Ada \"x\" is there");
        let trigger = Trigger { name: Some("Ada".into()), ..Trigger::default() };
        let link = LinkTo::new("/clips", "a/b.mp4");
        let stored = notify.follow_ups("door", &trigger, &link).unwrap();
        assert_eq!(text(&stored[0].delivery).unwrap(), "Ada: a/b.mp4");
    }

    #[test]
    fn follow_up_waits_for_its_link() {
        let trigger = Trigger { id: "1".into(), event: "known-face".into(), ..Trigger::default() };
        let link = LinkTo::new("/clips", "a/b.mp4");
        let stored = notify().follow_ups("door", &trigger, &link).unwrap();
        assert_eq!(stored.len(), 2);
        for follow_up in &stored {
            assert_eq!(text(&follow_up.delivery), None, "it has no link yet");
            follow_up.delivery.check().unwrap();
        }
        let other = LinkTo::new("/clips", "a/c.mp4");
        assert_ne!(notify().follow_ups("door", &trigger, &other).unwrap()[0].id, stored[0].id);
        let json = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<Vec<FollowUp>>(&json).unwrap(), stored);
    }
}
