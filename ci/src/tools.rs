//! Toolchains of the machine that some stages can not do without.

use std::process::{Command, Stdio};

/// A program that is looked for before a stage runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `cargo fmt`.
    Rustfmt,
    /// `cargo clippy`.
    Clippy,
    /// A Java runtime.
    Java,
    /// Maven.
    Maven,
    /// The Go toolchain.
    Go,
    /// Node.js.
    Node,
    /// npm.
    Npm,
    /// Python 3.
    Python,
    /// A C++ compiler.
    Cxx,
    /// git.
    Git,
}

impl Tool {
    /// The command, as it is typed to see whether it is here.
    fn probe(self) -> (&'static str, &'static str) {
        match self {
            Tool::Rustfmt => ("rustfmt", "--version"),
            Tool::Clippy => ("cargo-clippy", "--version"),
            Tool::Java => ("java", "-version"),
            Tool::Maven => ("mvn", "-version"),
            Tool::Go => ("go", "version"),
            Tool::Node => ("node", "--version"),
            Tool::Npm => ("npm", "--version"),
            Tool::Python => ("python3", "--version"),
            Tool::Cxx => ("c++", "--version"),
            Tool::Git => ("git", "--version"),
        }
    }

    /// What to install.
    pub fn name(self) -> &'static str {
        self.probe().0
    }

    /// Whether it starts.
    pub fn is_here(self) -> bool {
        let (program, argument) = self.probe();
        let mut command = Command::new(program);
        command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}
