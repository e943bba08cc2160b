//! The commands of the tutorial, as the page has them.

use anyhow::{Context, Result, ensure};

/// The section that is the tutorial; it ends where the next one begins.
const SECTION: &str = "## Ten minutes";

/// One command.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Where it is on the page, 1-based.
    pub line: usize,
    /// As it is typed.
    pub command: String,
    /// What it has to print, with where the page says so.
    pub expected: Vec<(usize, String)>,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plays runs, and tells by its exit code whether it found something.
    Play,
    /// Plants a bug.
    Plant,
    /// Takes the bug out again.
    TakeBack,
    /// Makes a scenario of a counterexample.
    Promote,
    /// Something else.
    Other,
}

impl Step {
    /// What the command does.
    pub fn kind(&self) -> Kind {
        let words: Vec<&str> = self.command.split_whitespace().collect();
        match words[..] {
            ["cargo", "sim", "run" | "replay" | "shrink", ..] => Kind::Play,
            ["cargo", "sim", "promote", ..] => Kind::Promote,
            ["git", "apply", "-R", ..] => Kind::TakeBack,
            ["git", "apply", ..] => Kind::Plant,
            _ => Kind::Other,
        }
    }

    /// The file that the command writes, if it names one.
    pub fn writes(&self) -> Option<&str> {
        let mut words = self.command.split_whitespace();
        match self.kind() {
            Kind::Play => words.skip_while(|word| *word != "--write").nth(1),
            // Behind the file that it reads.
            Kind::Promote => words.nth(4),
            Kind::Plant | Kind::TakeBack | Kind::Other => None,
        }
    }
}

/// The steps of the page, in order.
///
/// # Errors
/// There is no such section, or it shows what no command prints.
pub fn steps(page: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut language = None;
    // Only what directly follows commands is what they print.
    let mut last_was_shell = false;
    for (line, text) in section(page)? {
        match (text.strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(name)) => {
                last_was_shell = name == "sh";
                language = None;
            }
            (None, Some("sh")) if !text.trim().is_empty() => {
                ensure!(!text.ends_with('\\'), "line {line} has to be a whole command");
                steps.push(Step { line, command: text.to_owned(), ..Step::default() });
            }
            (None, Some("text")) => {
                ensure!(last_was_shell, "line {line} is behind no command");
                let step = steps.last_mut().context("a command comes first")?;
                step.expected.push((line, text.to_owned()));
            }
            _ => {}
        }
    }
    Ok(steps)
}

/// The lines of the section with their numbers.
fn section(page: &str) -> Result<impl Iterator<Item = (usize, &str)>> {
    let numbered = || (1..).zip(page.lines());
    let (heading, _) = numbered()
        .find(|(_, text)| *text == SECTION)
        .with_context(|| format!("there is no {SECTION:?}"))?;
    Ok(numbered().skip(heading).take_while(|(_, text)| !text.starts_with("## ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Title

```sh
not this
```

## Ten minutes

```sh
git apply a.patch
cargo sim shrink s.toml --write min.toml
```

It prints

```text
plan: 1 faults
  …
```

```sh
cargo sim promote min.toml a/b.toml --story \"A b.\"
git apply -R a.patch
```

## After it

```sh
nor this
```
";

    #[test]
    fn commands_and_what_they_print_are_read_from_the_page() {
        let steps = steps(PAGE).unwrap();
        let lines: Vec<usize> = steps.iter().map(|step| step.line).collect();
        assert_eq!(lines, [10, 11, 22, 23]);
        let kinds: Vec<Kind> = steps.iter().map(Step::kind).collect();
        assert_eq!(kinds, [Kind::Plant, Kind::Play, Kind::Promote, Kind::TakeBack]);
        let written: Vec<&str> = steps.iter().filter_map(Step::writes).collect();
        assert_eq!(written, ["min.toml", "a/b.toml"]);
        let expected = [(17, "plan: 1 faults".to_owned()), (18, "  …".to_owned())];
        assert_eq!(steps[1].expected, expected);
        assert!(steps.iter().all(|step| step.line == 11 || step.expected.is_empty()));
    }

    #[test]
    fn what_no_command_prints_is_an_error() {
        assert!(steps("## Ten minutes\n```text\na\n```\n").is_err());
        assert!(steps("## Five minutes\n").is_err());
        let twice = PAGE.replace("  …\n", "```\n\n```text\n  …\n");
        assert!(steps(&twice).is_err());
    }
}
