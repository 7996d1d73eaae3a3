//! What brokers say no with, in words, and what can be done.

use super::Version;

/// Why a connection was refused.
pub(super) fn refused(version: Version, reason: u8) -> String {
    let (what, todo) = match (version, reason) {
        (Version::V311, 1) | (Version::V5, 0x84) => {
            ("it does not speak this version of MQTT", "choose the other mqtt-version")
        }
        (Version::V311, 2) | (Version::V5, 0x85) => {
            ("it does not take this client id", "choose another client-id")
        }
        (Version::V311, 3) | (Version::V5, 0x88) => ("it is not available", ""),
        (Version::V311, 4) | (Version::V5, 0x86) => {
            ("wrong user name or password", "check username and where the password comes from")
        }
        (Version::V311, 5) | (Version::V5, 0x87) => {
            ("not authorised", "name a user that may connect, with username and password")
        }
        (Version::V5, 0x89) => ("it is busy", ""),
        (Version::V5, 0x8a) => ("this client is banned", "ask who runs the broker"),
        (Version::V5, 0x8c) => ("it wants another kind of authentication", ""),
        (Version::V5, 0x95) => ("the connection asks for too much at once", ""),
        (Version::V5, 0x97) => ("a quota is used up", ""),
        (Version::V5, 0x9c | 0x9d) => ("it says to use another server", "name that one"),
        (Version::V5, 0x9f) => ("there are too many connections a minute", ""),
        _ => return format!("it says no with reason {reason:#04x}"),
    };
    if todo.is_empty() { what.to_owned() } else { format!("{what}: {todo}") }
}

/// Why a connection was ended by the broker.
pub(super) fn ended(reason: u8) -> String {
    match reason {
        0x8e => {
            "another connection uses the same client id: give each its own client-id".to_owned()
        }
        0x8b => "it is shutting down".to_owned(),
        0x8d => "it heard nothing of us for too long".to_owned(),
        0x95 => "a packet was too large for it".to_owned(),
        0x98 => "somebody who runs it ended the connection".to_owned(),
        _ => format!("it ended the connection with reason {reason:#04x}"),
    }
}

/// Was a message refused, and can that change? `None`: it was taken.
pub(super) fn judge(reason: u8) -> Option<(String, bool)> {
    Some(match reason {
        // 0x10: nobody subscribes to it at the moment.
        ..0x80 => return None,
        0x87 => ("this user may not publish there: allow it at the broker".to_owned(), true),
        0x90 => ("the broker does not take this topic".to_owned(), false),
        0x97 => ("a quota at the broker is used up".to_owned(), true),
        0x99 => ("the broker takes it for something else than text".to_owned(), false),
        _ => (format!("the broker refused it with reason {reason:#04x}"), true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_credentials_are_called_so_in_both_versions() {
        for (version, reason) in [(Version::V311, 4), (Version::V5, 0x86)] {
            assert!(refused(version, reason).contains("wrong user name or password"));
        }
        assert!(refused(Version::V5, 0xff).contains("0xff"));
        assert!(ended(0x8e).contains("client-id"));
    }

    #[test]
    fn message_that_nobody_reads_has_arrived() {
        assert_eq!(judge(0), None);
        assert_eq!(judge(0x10), None);
        assert!(matches!(judge(0x87), Some((_, true))));
        assert!(matches!(judge(0x90), Some((_, false))));
    }
}
