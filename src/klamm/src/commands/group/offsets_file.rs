//! Files of offsets, as `klamm group reset --export` and kafka-consumer-groups write them.
//!
//! In: lines of `topic,partition,offset`, which are for the one group that is named beside the file, or
//! of `group,topic,partition,offset`; fields may be quoted. Out: the groups, and the offsets of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use client::TopicPartition;
use model::Offset;
use protocol::StrBytes;

use crate::failure::Failure;

/// See the module.
#[derive(Debug)]
pub(super) struct OffsetsFile {
    name: String,
    lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    group: Option<StrBytes>,
    at: TopicPartition,
    offset: Offset,
}

impl OffsetsFile {
    pub(super) fn read(path: &Path) -> Result<OffsetsFile, Failure> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("read {name}")).because(error))?;
        OffsetsFile::parse(name, &text)
    }

    fn parse(name: String, text: &str) -> Result<OffsetsFile, Failure> {
        let mut lines = Vec::new();
        for (number, text) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let line = parse_line(number, text).ok_or_else(|| {
                Failure::new(format!(
                    "line {number} of {name} is neither topic,partition,offset nor \
                     group,topic,partition,offset"
                ))
            })?;
            lines.push(line);
        }
        Ok(OffsetsFile { name, lines })
    }

    /// The groups that are named, when every line names one.
    pub(super) fn groups(&self) -> Result<Vec<StrBytes>, Failure> {
        self.expect_groups()?;
        let groups: BTreeSet<&StrBytes> =
            self.lines.iter().filter_map(|line| line.group.as_ref()).collect();
        Ok(groups.into_iter().cloned().collect())
    }

    fn expect_groups(&self) -> Result<(), Failure> {
        match self.lines.iter().find(|line| line.group.is_none()) {
            Some(Line { number, .. }) => {
                Err(Failure::new(format!("line {number} of {} names no group", self.name))
                    .hint("`klamm group reset GROUP --from-file FILE` says which one it is for"))
            }
            None => Ok(()),
        }
    }

    /// The offsets of `group`; with `is_single` also those of lines without a group.
    pub(super) fn targets(
        &self,
        group: &StrBytes,
        is_single: bool,
    ) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
        if !is_single {
            self.expect_groups()?;
        }
        let ours = self.lines.iter().filter(|line| line.group.as_ref().is_none_or(|g| g == group));
        let targets: BTreeMap<TopicPartition, Offset> =
            ours.map(|line| (line.at.clone(), line.offset)).collect();
        match targets.is_empty() {
            true => Err(Failure::new(format!("{} has no line for group `{group}`", self.name))),
            false => Ok(targets),
        }
    }
}

fn parse_line(number: usize, line: &str) -> Option<Line> {
    let fields = fields(line.trim());
    let (group, rest) = match &fields[..] {
        [group, rest @ ..] if rest.len() == 3 => (Some(group.as_str().into()), rest),
        rest => (None, rest),
    };
    let [topic, partition, offset] = rest else { return None };
    let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
    let offset: i64 = offset.parse().ok().filter(|offset| *offset >= 0)?;
    let at = TopicPartition::new(topic.as_str(), partition);
    Some(Line { number, group, at, offset: Offset(offset) })
}

/// The fields of a line: within quotes a comma is one of the letters, and a quote is doubled.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there is one from the beginning");
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if is_quoted || field.is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            letter => field.push(letter),
        }
    }
    fields
}

/// `text` as a field of a line.
pub(super) fn field(text: &str) -> String {
    match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OffsetsFile, String> {
        OffsetsFile::parse("f".to_owned(), text).map_err(|failure| failure.text())
    }

    fn targets(file: &OffsetsFile, group: &str, is_single: bool) -> Result<String, String> {
        let targets = file.targets(&group.into(), is_single).map_err(|failure| failure.text())?;
        let words = targets.iter().map(|(at, offset)| format!("{at}={offset}"));
        Ok(words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn files_of_one_group_and_of_several() {
        let file = parse("t,0,5\n\ng,t,1,6\nother,t,1,7\n\"u\",0,8\n").unwrap();
        assert_eq!(targets(&file, "g", true), Ok("t-0=5 t-1=6 u-0=8".to_owned()));
        let nameless = "line 1 of f names no group";
        assert_eq!(targets(&file, "g", false), Err(nameless.to_owned()));
        assert_eq!(file.groups().map_err(|failure| failure.text()), Err(nameless.to_owned()));
        let file = parse("g,t,0,5\n\"a,\"\"b\",t,1,6\ng,u,0,7\n").unwrap();
        assert_eq!(file.groups().ok(), Some(vec!["a,\"b".into(), "g".into()]));
        assert_eq!(targets(&file, "g", false), Ok("t-0=5 u-0=7".to_owned()));
        assert_eq!(targets(&file, "a,\"b", false), Ok("t-1=6".to_owned()));
        let none = "f has no line for group `h`";
        assert_eq!(targets(&file, "h", false), Err(none.to_owned()));
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        for (wrong, line) in
            [("t,0", 1), ("t,0,1\nt,x,1", 2), ("t,0,-", 1), ("t,-1,0", 1), ("a,g,t,0,1", 1)]
        {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.starts_with(&format!("line {line} of f ")), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["g", "a,b", "\"", "\"a\",b", "a\"b"] {
            assert_eq!(fields(&format!("{},x", field(text))), [text, "x"]);
        }
    }
}
