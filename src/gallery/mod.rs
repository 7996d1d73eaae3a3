//! The gallery of enrolled people.
