//! What a command says when it fails: what it was doing, why it did not work, what to do about it.

use std::error::Error;
use std::io::ErrorKind;
use std::iter;
use std::process::ExitCode;

use client::{ClientError, RequestError};

/// The end of a command that did not work.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// Wrong use instead of a failed operation.
    usage: bool,
    /// Nothing to say: the reader of stdout went away.
    silent: bool,
    /// What else went wrong in the same command.
    others: Vec<Failure>,
}

impl Failure {
    /// A failure to do `what` (a verb phrase) or a whole sentence.
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure {
            what: what.into(),
            causes: Vec::new(),
            hint: None,
            usage: false,
            silent: false,
            others: Vec::new(),
        }
    }

    /// The command line asks for something impossible.
    pub(crate) fn usage(what: impl Into<String>) -> Failure {
        Failure { usage: true, ..Failure::new(what) }
    }

    /// With an error and what caused it.
    pub(crate) fn because(mut self, error: impl Error) -> Failure {
        let mut next: Option<&dyn Error> = Some(&error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// With the way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// An error of the client library, with the hint that fits it.
    pub(crate) fn client(what: impl Into<String>, error: &ClientError) -> Failure {
        if let Some(address) = nobody_there(error) {
            return Failure::new(format!("nothing listens at {address}"))
                .hint("start a broker with `klamm dev`, or name another one with -b HOST:PORT");
        }
        Failure::new(what).because(error)
    }

    /// An error while writing to stdout. A reader that had enough is no failure.
    pub(crate) fn stdout(error: std::io::Error) -> Failure {
        let silent = error.kind() == ErrorKind::BrokenPipe;
        Failure { silent, ..Failure::new("write to stdout").because(error) }
    }

    /// The end of a command over several items: none failed, or these did. The first one says how
    /// the process ends.
    pub(crate) fn all(failures: Vec<Failure>) -> Result<(), Failure> {
        let mut failures = failures.into_iter();
        match failures.next() {
            Some(first) => Err(Failure { others: failures.collect(), ..first }),
            None => Ok(()),
        }
    }

    /// In one line, without the way out.
    pub(crate) fn text(&self) -> String {
        let causes: String = self.causes.iter().map(|cause| format!(": {cause}")).collect();
        format!("{}{causes}", self.what)
    }

    /// Prints it and says how the process ends.
    pub(crate) fn report(self) -> ExitCode {
        if self.silent {
            return ExitCode::SUCCESS;
        }
        for failure in iter::once(&self).chain(&self.others) {
            eprintln!("klamm: {}", failure.text());
            if let Some(hint) = &failure.hint {
                eprintln!("  {hint}");
            }
        }
        if self.usage { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}

/// The address at which nothing listens, when that is what is wrong.
fn nobody_there(error: &ClientError) -> Option<&str> {
    match error {
        ClientError::Request(RequestError::Connect { address, source }) => {
            (source.kind() == ErrorKind::ConnectionRefused).then_some(address)
        }
        ClientError::TimedOut { last: Some(last), .. } => nobody_there(last),
        _ => None,
    }
}
