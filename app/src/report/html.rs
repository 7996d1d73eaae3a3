//! Writing HTML.

use std::fmt;

/// A page under way.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds what is HTML already.
    pub(super) fn push(&mut self, text: &str) {
        self.0.push_str(text);
    }

    pub(super) fn write(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = fmt::Write::write_fmt(&mut self.0, arguments);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Adds formatted HTML. Texts from outside go through [`Escaped`].
macro_rules! html {
    ($page:expr, $($arguments:tt)*) => { $page.write(format_args!($($arguments)*)) };
}
pub(super) use html;

/// A text as it stands between tags and within quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}
