//! The format of Java's `.properties` files (`java.util.Properties.load`).
//!
//! In: text. Out: keys and values with their lines, in the order of the file; a key may come more
//! than once. Only a `\u` without four hexadecimal digits is an error.

/// One setting and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The line it begins in, from 1; `None` when it comes from the command line.
    pub line: Option<u32>,
    /// Its name.
    pub key: String,
    /// Its value, without the white space in front of it.
    pub value: String,
}

/// A text that is no properties file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// `\u` begins a character given by four hexadecimal digits.
    #[error(
        "line {line}: `\\u` without four hexadecimal digits behind it; write `\\\\u` to mean `\\u`"
    )]
    UnicodeEscape {
        /// The line of the setting, from 1.
        line: u32,
    },
}

/// Reads the settings in `text`.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let mut lines = (1u32..).zip(natural_lines(text));
    let mut properties = Vec::new();
    while let Some((line, first)) = lines.next() {
        let first = first.trim_start_matches(is_space);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while continues(&logical) {
            logical.pop();
            // A file may end in a backslash.
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_space));
        }
        properties.push(split(line, &logical)?);
    }
    Ok(properties)
}

/// The lines of a text; each ends in `\n`, `\r` or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let after = &text[end..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..end])
    })
}

/// Java's white space within a line.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Whether the line ends in an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Key and value: the key ends at the first `=`, `:` or white space that no backslash is before.
fn split(line: u32, logical: &str) -> Result<Property, PropertiesError> {
    let mut escaped = false;
    let end = logical.find(|c: char| {
        let ends = !escaped && (matches!(c, '=' | ':') || is_space(c));
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = logical.split_at(end.unwrap_or(logical.len()));
    let rest = rest.trim_start_matches(is_space);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_space);
    Ok(Property { line: Some(line), key: unescape(line, key)?, value: unescape(line, value)? })
}

fn unescape(line: u32, text: &str) -> Result<String, PropertiesError> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let push = |units: &mut Vec<u16>, c: char| {
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(&mut units, c);
            continue;
        }
        match chars.next() {
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let is_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
                units.push(unit.ok_or(PropertiesError::UnicodeEscape { line })?);
            }
            Some('t') => push(&mut units, '\t'),
            Some('n') => push(&mut units, '\n'),
            Some('r') => push(&mut units, '\r'),
            Some('f') => push(&mut units, '\x0c'),
            Some(other) => push(&mut units, other),
            None => {}
        }
    }
    // Two escapes may make one character; half of one becomes the replacement character.
    Ok(String::from_utf16_lossy(&units))
}
