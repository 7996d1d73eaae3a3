//! Names and other texts from outside as they may be shown.

/// One line without control characters, invisible direction and format characters, or repeated
/// spaces, of at most `most_chars` characters and an ellipsis. Joiners and variation selectors stay:
/// scripts and emoji need them.
///
/// ```
/// use face_core::text::one_line;
///
/// assert_eq!(one_line("  Ada\n\u{202e}Lovelace ", 96), "Ada Lovelace");
/// assert_eq!(one_line("Ada Lovelace", 5), "Ada L…");
/// ```
pub fn one_line(text: &str, most_chars: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let mut first = true;
        for c in word.chars().filter(|&c| !is_hidden(c)) {
            let space = first && !line.is_empty();
            count += 1 + usize::from(space);
            if count > most_chars {
                line.push('…');
                return line;
            }
            if space {
                line.push(' ');
            }
            first = false;
            line.push(c);
        }
    }
    line
}

/// Characters that can make a text look like another one and that no name needs: direction marks,
/// overrides and isolates, invisible operators, annotations, tags, the byte-order mark, soft
/// hyphens and non-characters.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{180E}'
        | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
        || (c as u32) & 0xFFFE == 0xFFFE
        || ('\u{FDD0}'..='\u{FDEF}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_clean_line() {
        let cleaned = |text: &str| one_line(text, 96);
        assert_eq!(cleaned("  Ada\n\tLove\u{0}lace \u{7} "), "Ada Love lace");
        assert_eq!(cleaned("a\u{202E}b\u{2066}c\u{200F}\u{FEFF}d\u{E0041}"), "abcd");
        assert_eq!(cleaned("<b>&amp;"), "<b>&amp;");
        // Joiners stay: conjuncts of Devanagari and families of emoji are made with them.
        assert_eq!(cleaned("क्\u{200D}ष 👩\u{200D}🚀"), "क्\u{200D}ष 👩\u{200D}🚀");
        assert_eq!(cleaned(&"a".repeat(1000)).chars().count(), 97);
        assert!(cleaned(&"ab ".repeat(1000)).ends_with("b…"));
        assert_eq!(cleaned("\u{202E}\u{0}"), "");
    }
}
