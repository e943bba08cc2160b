//! From a line of input to a record.

use bytes::Bytes;
use client::record::Header;

/// How lines are taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct LineSyntax {
    /// Between key and value; without it a line is a value.
    pub(super) key_separator: Option<Vec<u8>>,
    /// Lines begin with `name:value,name:value` and a tab.
    pub(super) parse_headers: bool,
    /// An empty value is a null.
    pub(super) null_if_empty: bool,
}

/// A record as a line tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<Header>,
}

impl LineSyntax {
    /// Takes one line, without its end, apart.
    pub(super) fn parse(&self, line: Bytes) -> Result<Line, String> {
        let mut rest = line;
        let mut headers = Vec::new();
        if self.parse_headers {
            let text = split(&mut rest, b"\t").ok_or("no tab ends the headers")?;
            headers = parse_headers(&text)?;
        }
        let key = match &self.key_separator {
            Some(separator) => Some(
                split(&mut rest, separator)
                    .ok_or_else(|| format!("no key separator `{}`", separator.escape_ascii()))?,
            ),
            None => None,
        };
        let value = (!(rest.is_empty() && self.null_if_empty)).then_some(rest);
        Ok(Line { key, value, headers })
    }
}

/// Takes what lies before the first `separator` off the front, and the separator with it.
fn split(rest: &mut Bytes, separator: &[u8]) -> Option<Bytes> {
    let at = rest.windows(separator.len()).position(|window| window == separator)?;
    let front = rest.split_to(at);
    let _ = rest.split_to(separator.len());
    Some(front)
}

fn parse_headers(text: &[u8]) -> Result<Vec<Header>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the headers are not UTF-8")?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let header = |pair: &str| {
        let (name, value) = pair
            .split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("header `{pair}` is not name:value"))?;
        Ok(Header { key: name.into(), value: Some(Bytes::from(value.to_owned())) })
    };
    text.split(',').map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(syntax: &LineSyntax, line: &str) -> Result<String, String> {
        let line = syntax.parse(Bytes::from(line.to_owned()))?;
        let text = |bytes: &Option<Bytes>| match bytes {
            Some(bytes) => format!("'{}'", String::from_utf8_lossy(bytes)),
            None => "null".to_owned(),
        };
        let headers: Vec<String> = line
            .headers
            .iter()
            .map(|header| format!("{}={}", header.key, text(&header.value)))
            .collect();
        Ok(format!("{} {} {}", text(&line.key), text(&line.value), headers.join(" ")))
    }

    #[test]
    fn a_line_is_a_value() {
        let plain = LineSyntax::default();
        assert_eq!(parse(&plain, "a:b").as_deref(), Ok("null 'a:b' "));
        assert_eq!(parse(&plain, "").as_deref(), Ok("null '' "));
        let nulls = LineSyntax { null_if_empty: true, ..plain };
        assert_eq!(parse(&nulls, "").as_deref(), Ok("null null "));
    }

    #[test]
    fn keys_and_headers() {
        let keyed = LineSyntax { key_separator: Some(b"::".to_vec()), ..Default::default() };
        assert_eq!(parse(&keyed, "k::v::w").as_deref(), Ok("'k' 'v::w' "));
        assert_eq!(parse(&keyed, "::v").as_deref(), Ok("'' 'v' "));
        assert!(parse(&keyed, "k:v").is_err());
        let full = LineSyntax { parse_headers: true, ..keyed };
        assert_eq!(parse(&full, "a:1,b:\tk::v").as_deref(), Ok("'k' 'v' a='1' b=''"));
        assert_eq!(parse(&full, "\tk::v").as_deref(), Ok("'k' 'v' "));
        assert!(parse(&full, "a:1").is_err());
        assert!(parse(&full, "a\tk::v").is_err());
    }
}
