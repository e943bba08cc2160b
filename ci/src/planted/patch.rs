//! A planted bug as its file describes it.

use anyhow::{Context, Result, ensure};

/// Where the patches are.
pub const FOLDER: &str = "scenarios/planted/";

/// One wrong line or two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The file's name without `.patch`.
    pub name: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The bug of a real broker that is like it.
    pub like: String,
    /// The check that must name it.
    pub check: String,
    /// The scenario that must show it.
    pub scenario: String,
}

impl Patch {
    /// Reads the lines above the first hunk.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn parse(name: &str, text: &str) -> Result<Patch> {
        let head = text.split_once("\n---").context("no hunk")?.0;
        let field = |key: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(key));
            line.map(|line| line.trim().to_owned()).with_context(|| format!("no line {key:?}"))
        };
        let what = head.lines().next().unwrap_or_default().trim().to_owned();
        ensure!(!what.is_empty(), "the first line has to say what is wrong");
        Ok(Patch {
            name: name.to_owned(),
            what,
            like: field("Like:")?,
            check: field("check:")?,
            scenario: field("scenario:")?,
        })
    }

    /// Its file, from the top of the tree.
    pub fn path(&self) -> String {
        format!("{FOLDER}{}.patch", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "It is wrong.\nLike: another.\ncheck: lost-write\nscenario: s.toml\n\n\
        --- a/src/a.rs\n+++ b/src/a.rs\n@@ -1 +1 @@\n-a\n+b\n";

    #[test]
    fn the_head_is_read() {
        let patch = Patch::parse("wrong", TEXT).unwrap();
        assert_eq!(patch.what, "It is wrong.");
        assert_eq!((patch.like.as_str(), patch.check.as_str()), ("another.", "lost-write"));
        assert_eq!(patch.path(), "scenarios/planted/wrong.patch");
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = TEXT.replace("check: lost-write\n", "");
        let error = Patch::parse("wrong", &text).unwrap_err();
        assert!(error.to_string().contains("check:"), "{error}");
    }
}
