//! What a command prints beside what the page says that it prints.
//!
//! Words have to be the same. Numbers, hashes and the partition in `orders-0@15` differ between
//! builds, machines and hours: each stands for any other, but for a number that a sentence of the
//! page rests on ([`COUNTED`]). An ellipsis stands for anything in its line, and alone in a line for
//! any lines. All other lines follow each other as on the page.

/// What is counted as the page says.
const COUNTED: &[&str] = &[" faults", " failing"];

/// A word of so many hexadecimal digits is a hash.
const HASH_DIGITS_MIN: usize = 16;

const ELLIPSIS: char = '…';

/// Looks for the page's lines in what was printed.
///
/// # Errors
/// A line that is not there, with its number.
pub fn compare(page: &[(usize, String)], printed: &str) -> Result<(), String> {
    let mut rest: Vec<&str> = printed.lines().collect();
    for group in page.split(|(_, line)| line.trim() == ELLIPSIS.to_string()) {
        let Some((number, first)) = group.first() else { continue };
        let has_all = |lines: &[&str]| group.iter().zip(lines).all(|((_, a), b)| fits(a, b));
        let Some(start) = rest.windows(group.len()).position(has_all) else {
            let alone = group.iter().find(|(_, line)| !rest.iter().any(|it| fits(line, it)));
            return Err(match alone {
                Some((number, line)) => format!("{number}: no line is like {line:?}"),
                None => format!("{number}: the lines from {first:?} do not follow each other"),
            });
        };
        rest.drain(..start + group.len());
    }
    Ok(())
}

fn fits(page: &str, printed: &str) -> bool {
    let (page, printed) = (stable(page), stable(printed));
    let mut parts = page.split(ELLIPSIS);
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// The line with a 0 for each number and each hash, and without the names of partitions.
fn stable(line: &str) -> String {
    let words: Vec<&str> = line.trim_end().split(' ').map(without_partition).collect();
    let line = words.join(" ");
    let mut text = String::new();
    let mut rest = line.as_str();
    while let Some(next) = rest.chars().next() {
        let is_word = next.is_ascii_alphanumeric();
        let end = rest.find(|next: char| next.is_ascii_alphanumeric() != is_word);
        let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
        rest = behind;
        let is_counted = COUNTED.iter().any(|counted| behind.starts_with(counted));
        match part {
            _ if !is_word || is_counted => text.push_str(part),
            _ if is_hash(part) => text.push('0'),
            _ => push_without_digits(&mut text, part),
        }
    }
    text
}

/// Which partition is hit first is as much chance as the offset behind its name.
fn without_partition(word: &str) -> &str {
    word.find('@').map_or(word, |at| &word[at..])
}

fn is_hash(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let is_long = digits.len() >= HASH_DIGITS_MIN || digits.len() < word.len();
    is_long && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn push_without_digits(text: &mut String, word: &str) {
    let mut was_digit = false;
    for next in word.chars() {
        let is_digit = next.is_ascii_digit();
        match (is_digit, was_digit) {
            (false, _) => text.push(next),
            (true, false) => text.push('0'),
            (true, true) => {}
        }
        was_digit = is_digit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_and_numbers_do_not() {
        let like = [
            (
                "lost-write orders-0@15: p2#0 at 1.222 s",
                "lost-write pay-ments-12@1: p0#77 at 0.06 s",
            ),
            ("--seed 0x0    # trace 9e92028bdce23a28", "--seed 0xfe    # trace 00000000000000ab"),
            ("plan: 1 faults (was 9)", "plan: 1 faults (was 12)"),
            ("9 seeds in 1.0 s: …, 0 failing; …", "8 seeds in 2.5 s: 7 per m, 0 failing; 1 twice"),
            ("a … b … c", "a 1 b c d b c"),
        ];
        for (page, printed) in like {
            assert!(fits(page, printed), "{page} / {printed}");
        }
        let unlike = [
            ("lost-write orders-0@15", "lost-read orders-0@15"),
            ("lost-write orders-0@15", "lost-write orders-0@15 and more"),
            ("plan: 1 faults", "plan: 2 faults"),
            ("9 seeds, 0 failing; …", "9 seeds, 10 failing; x"),
            ("trace 9e92028bdce23a28", "trace none"),
            ("  indented", "indented"),
            ("a … b … c", "a b … c"),
        ];
        for (page, printed) in unlike {
            assert!(!fits(page, printed), "{page} / {printed}");
        }
    }

    #[test]
    fn lines_follow_each_other_but_for_an_ellipsis() {
        let page = |lines: &[&str]| -> Vec<(usize, String)> {
            (7..).zip(lines.iter().map(|line| (*line).to_owned())).collect()
        };
        let printed = "first\na\nb 1\nc\nd\nlast\n";
        assert_eq!(compare(&page(&["a", "b 2", "…", "d"]), printed), Ok(()));
        assert_eq!(compare(&page(&["…", "last", "  …"]), printed), Ok(()));
        assert_eq!(compare(&[], printed), Ok(()));
        let problem = compare(&page(&["a", "x"]), printed).unwrap_err();
        assert_eq!(problem, "8: no line is like \"x\"");
        for lines in [&["a", "c"][..], &["a", "…", "a"], &["last", "…", "first"]] {
            let problem = compare(&page(lines), printed).unwrap_err();
            assert!(problem.contains(": "), "{problem}");
        }
    }
}
