//! Patterns as RE2/J understands them, said in the words of the crate `regex`.
//!
//! In: what a member sent. Out: a pattern that matches the same names, or what is wrong with it.
//!
//! The two are of one family, and differ at the edges: RE2/J knows `\Q..\E`, octal codes and a brace that
//! stands for itself; the crate knows more flags, escapes and properties, repetitions of repetitions, and
//! sets in sets. What RE2/J refuses has to be refused here. Names of topics have only ASCII characters,
//! so nobody sees that the crate's `\d`, `\w` and `\b` know others too.
//!
//! Start at [`translate`].

use std::collections::{BTreeMap, BTreeSet};

/// The highest count of a repetition.
const COUNT_MAX: u32 = 1000;

/// Sets that have names, as in `[[:alpha:]]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// General categories, as in `\p{Lu}`.
const CATEGORIES: [&str; 36] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs",
];

/// The pattern for the crate.
///
/// # Errors
/// What is wrong with it, for a person. Some mistakes are left for the crate to find.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let out = String::with_capacity(pattern.len());
    let mut translator = Translator { rest: pattern, out, names: BTreeSet::new() };
    translator.run()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
    /// Of groups.
    names: BTreeSet<&'a str>,
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), String> {
        let mut is_after_repetition = false;
        while let Some(first) = self.take() {
            let is_repetition = match first {
                '*' | '+' | '?' => {
                    self.out.push(first);
                    true
                }
                '{' => self.count()?,
                _ => false,
            };
            if is_repetition {
                if is_after_repetition {
                    return Err("repetition of a repetition".to_owned());
                }
                if self.skip("?") {
                    self.out.push('?');
                }
            } else {
                self.element(first)?;
            }
            // RE2/J takes a brace for a repetition first, and does not forget that it did.
            is_after_repetition = is_repetition || first == '{';
        }
        Ok(())
    }

    /// Anything but a repetition.
    fn element(&mut self, first: char) -> Result<(), String> {
        match first {
            // It was looked at, and counts nothing.
            '{' => self.literal('{'),
            '(' => self.group()?,
            '[' => self.class()?,
            '\\' => self.escape()?,
            '.' | '^' | '$' | '|' | ')' => self.out.push(first),
            other => self.literal(other),
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let first = self.peek()?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    fn skip(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn literal(&mut self, literal: char) {
        self.out.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
    }

    /// Behind a brace: `n}`, `n,}` or `n,m}`. Whether it was that.
    fn count(&mut self) -> Result<bool, String> {
        let Some((inside, rest)) = self.rest.split_once('}') else { return Ok(false) };
        let (min, max) = match inside.split_once(',') {
            None => (number(inside), number(inside)),
            Some((min, "")) => (number(min), Some(COUNT_MAX)),
            Some((min, max)) => (number(min), number(max)),
        };
        let (Some(min), Some(max)) = (min, max) else { return Ok(false) };
        if COUNT_MAX < min || COUNT_MAX < max || max < min {
            return Err(format!("invalid repetition count {{{inside}}}"));
        }
        self.rest = rest;
        self.out.push('{');
        self.out.push_str(inside);
        self.out.push('}');
        Ok(true)
    }

    /// Behind a parenthesis. Nobody asks what a group matched.
    fn group(&mut self) -> Result<(), String> {
        if self.skip("?P<") || self.skip("?<") {
            let (name, rest) = self.rest.split_once('>').ok_or("unclosed name of a group")?;
            self.rest = rest;
            let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
            if name.is_empty() || !name.chars().all(is_word) || !self.names.insert(name) {
                return Err(format!("invalid or repeated name of a group: {name}"));
            }
        } else if self.skip("?") {
            return self.flags();
        }
        self.out.push_str("(?:");
        Ok(())
    }

    /// `i-s)` for the rest of a group, `i-s:` for a new one.
    fn flags(&mut self) -> Result<(), String> {
        let mut flags = BTreeMap::new();
        let mut is_on = true;
        let mut has_any = true;
        let end = loop {
            match self.take() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => {
                    flags.insert(flag, is_on);
                    has_any = true;
                }
                Some('-') if is_on => (is_on, has_any) = (false, false),
                Some(end @ (':' | ')')) if has_any => break end,
                Some(flag) => return Err(format!("unknown flag of a group: {flag}")),
                None => return Err("unclosed flags of a group".to_owned()),
            }
        };
        if flags.is_empty() && end == ')' {
            return Ok(());
        }
        self.out.push_str("(?");
        self.out.extend(flags.iter().filter(|(_, is_on)| **is_on).map(|(flag, _)| flag));
        if flags.values().any(|is_on| !is_on) {
            self.out.push('-');
            self.out.extend(flags.iter().filter(|(_, is_on)| !**is_on).map(|(flag, _)| flag));
        }
        self.out.push(end);
        Ok(())
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<(), String> {
        if self.skip("Q") {
            let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            self.out.push_str(&regex::escape(quoted));
        } else if let Some(assertion @ ('A' | 'z' | 'b' | 'B')) = self.peek() {
            self.take();
            self.out.push('\\');
            self.out.push(assertion);
        } else if !self.set()? {
            let escaped = self.escaped()?;
            self.literal(escaped);
        }
        Ok(())
    }

    /// Behind a backslash, inside of a class or not: a set of characters, if it is one.
    fn set(&mut self) -> Result<bool, String> {
        match self.peek() {
            Some(set @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                self.take();
                self.out.push('\\');
                self.out.push(set);
            }
            Some(set @ ('p' | 'P')) => {
                self.take();
                self.property(set == 'P')?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Behind `\p`: a category, or a script.
    fn property(&mut self, is_negated: bool) -> Result<(), String> {
        let is_long = self.skip("{");
        let is_negated = is_negated != (is_long && self.skip("^"));
        let length = if is_long { self.rest.find('}') } else { self.peek().map(char::len_utf8) };
        let (name, rest) = self.rest.split_at(length.ok_or("unclosed property")?);
        self.rest = if is_long { &rest[1..] } else { rest };
        let is_script = name.len() > 2
            && name.starts_with(|it: char| it.is_ascii_uppercase())
            && name.chars().all(|it| it.is_ascii_alphabetic() || it == '_');
        let property = match name {
            "Any" => "Any".to_owned(),
            name if CATEGORIES.contains(&name) => name.to_owned(),
            name if is_script => format!("Script={name}"),
            name => return Err(format!("unknown property {name}")),
        };
        let letter = if is_negated { 'P' } else { 'p' };
        self.out.push_str(&format!(r"\{letter}{{{property}}}"));
        Ok(())
    }

    /// Behind a backslash: a character.
    fn escaped(&mut self) -> Result<char, String> {
        let first = self.take().ok_or("nothing behind a backslash")?;
        Ok(match first {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => return self.hexadecimal(),
            '1'..='7' if !self.peek().is_some_and(|next| next.is_digit(8)) => {
                return Err("backreferences are not supported".to_owned());
            }
            '0'..='7' => {
                let mut code = first.to_digit(8).expect("it is between 0 and 7");
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|it| it.to_digit(8)) else { break };
                    self.take();
                    code = code * 8 + digit;
                }
                char::from_u32(code).expect("at most 0o777")
            }
            it if it.is_ascii() && !it.is_ascii_alphanumeric() => it,
            it => return Err(format!("unknown escape sequence \\{it}")),
        })
    }

    /// Behind `\x`: two digits, or any in braces.
    fn hexadecimal(&mut self) -> Result<char, String> {
        let digits = if self.skip("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or("unclosed character code")?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2).ok_or("short character code")?;
            self.rest = rest;
            digits
        };
        let is_number = !digits.is_empty() && digits.chars().all(|it| it.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_number);
        let code = code.and_then(char::from_u32);
        code.ok_or_else(|| format!("invalid character code {digits}"))
    }

    /// Behind a bracket.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.skip("^") {
            self.out.push('^');
        }
        // A bracket that closes nothing stands for itself.
        let mut is_first = true;
        while is_first || !self.skip("]") {
            is_first = false;
            if self.named_class()? {
                continue;
            }
            let Some(low) = self.class_character()? else { continue };
            self.literal(low);
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if is_range {
                self.take();
                let high = if self.skip("\\") { self.escaped()? } else { self.in_class()? };
                if high < low {
                    return Err(format!("invalid range {low}-{high}"));
                }
                self.out.push('-');
                self.literal(high);
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:name:]`, if it is that.
    fn named_class(&mut self) -> Result<bool, String> {
        let Some(inside) = self.rest.strip_prefix("[:") else { return Ok(false) };
        let Some((name, rest)) = inside.split_once(":]") else { return Ok(false) };
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("unknown class {name}"));
        }
        self.rest = rest;
        self.out.push_str(&format!("[:{name}:]"));
        Ok(true)
    }

    /// One character of a class; nothing when it was a set of them, which is written.
    fn class_character(&mut self) -> Result<Option<char>, String> {
        if !self.skip("\\") {
            return self.in_class().map(Some);
        }
        if self.set()? { Ok(None) } else { self.escaped().map(Some) }
    }

    fn in_class(&mut self) -> Result<char, String> {
        self.take().ok_or_else(|| "unclosed character class".to_owned())
    }
}

/// A count; one that is too long is more than is allowed. Nothing when it is none.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let has_padding = text.len() > 1 && text.starts_with('0');
    (is_number && !has_padding).then(|| text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use crate::consumer::pattern::compile;

    /// Each line is a pattern, and what RE2/J 1.8 made of it: `refused`, or those of the names in the
    /// first line that it matches, or `none`.
    #[test]
    fn patterns_mean_what_they_mean_to_re2j() {
        let mut lines = include_str!("tests/re2j-1.8.txt").lines();
        let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
        for line in lines {
            let (pattern, expected) = line.split_once('\t').unwrap();
            let matched = compile(pattern).map(|regex| {
                let matched = names.iter().filter(|name| regex.is_match(name)).copied();
                let matched = matched.collect::<Vec<_>>().join("\t");
                if matched.is_empty() { "none".to_owned() } else { matched }
            });
            assert_eq!(matched.as_deref().unwrap_or("refused"), expected, "{pattern}: {matched:?}");
        }
    }
}
