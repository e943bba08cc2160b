//! `klamm-sim replay`: one seed, line by line.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sim::run::{Report, Watch};
use sim::sweep::run_alone;
use sim::world::Kind;
use sim::world::trace::{Line, with_names};

use super::seeds::parse_seed;
use super::{Common, Ended, Misuse, Output, read_scenario};

/// Where the text of a line begins, for people.
const NODE_WIDTH: usize = 10;

#[derive(Args)]
pub(super) struct Replay {
    /// The scenario file.
    scenario: PathBuf,
    /// The seed; the scenario's own when not given.
    #[arg(short, long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Every event, polls and segments too.
    #[arg(short, long)]
    all: bool,
    /// Events of these nodes only: broker-1, client-3, …
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// Events of these kinds only.
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    kind: Vec<Kind>,
    /// Events from this simulated second on.
    #[arg(long, value_name = "SECONDS")]
    from: Option<f64>,
    /// Events up to this simulated second.
    #[arg(long, value_name = "SECONDS")]
    to: Option<f64>,
    /// Events that say this only.
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Kinds by their names in the output, which `--help` and a wrong one list.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    let names = PossibleValuesParser::new(Kind::ALL.map(Kind::name));
    names.map(|name| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        kind.expect("only names of kinds are possible")
    })
}

impl Replay {
    pub(super) fn execute(&self) -> Result<Ended> {
        let named = read_scenario(&self.scenario)?;
        let seed = self.seed.or(named.scenario.seed).unwrap_or(0);
        let watch = Watch { is_recording: true };
        let report = run_alone(&named.scenario, seed, watch).map_err(|error| anyhow!(error))?;
        if let Some(unknown) = self.node.iter().find(|name| !report.nodes.contains(name)) {
            let nodes = report.nodes.join(", ");
            bail!(Misuse(format!("there is no node {unknown:?}; there are {nodes}")));
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let written = match self.common.output {
            Output::Json => self.write_json(&report, &mut out),
            Output::Text => self.write_text(&report, &mut out),
        };
        match written.and_then(|()| out.flush()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written?,
        }
        Ok(if report.failures().is_empty() { Ended::Clean } else { Ended::Violation })
    }

    fn write_json(&self, report: &Report, out: &mut impl Write) -> io::Result<()> {
        let lines: Vec<_> = self
            .lines(report)
            .map(|(line, node, text)| {
                serde_json::json!({
                    "at": line.at, "kind": line.kind, "node": node, "text": text,
                    "hash": format!("{:032x}", line.hash),
                })
            })
            .collect();
        let json = serde_json::json!({
            "scenario": self.scenario.display().to_string(),
            "seed": format!("{:#x}", report.seed),
            "hash": format!("{:032x}", report.hash),
            "events": report.events,
            "findings": report.failures(),
            "lines": lines,
        });
        writeln!(out, "{json}")
    }

    fn write_text(&self, report: &Report, out: &mut impl Write) -> io::Result<()> {
        for (line, node, text) in self.lines(report) {
            let seconds = line.at as f64 / 1e9;
            let kind = line.kind.name();
            writeln!(out, "{seconds:>12.6} {node:<NODE_WIDTH$} {kind:<10} {text}")?;
        }
        for found in report.failures() {
            writeln!(out, "VIOLATION {}", found.text)?;
        }
        writeln!(out, "trace {:032x}, {} events", report.hash, report.events)
    }

    /// The lines that were asked for, with the names of their nodes.
    fn lines<'a>(
        &'a self,
        report: &'a Report,
    ) -> impl Iterator<Item = (&'a Line, &'a str, String)> {
        report.lines.iter().filter_map(|line| {
            let node = line.node.and_then(|node| report.nodes.get(node as usize));
            let node = node.map_or("", String::as_str);
            let text = with_names(&line.text, &report.nodes);
            self.is_wanted(line, node, &text).then_some((line, node, text))
        })
    }

    fn is_wanted(&self, line: &Line, node: &str, text: &str) -> bool {
        let seconds = line.at as f64 / 1e9;
        let is_small = matches!(line.kind, Kind::Poll | Kind::Segment);
        let is_kind = match self.kind.is_empty() {
            true => self.all || !is_small,
            false => self.kind.contains(&line.kind),
        };
        is_kind
            && (self.node.is_empty() || self.node.iter().any(|name| name == node))
            && self.from.is_none_or(|from| from <= seconds)
            && self.to.is_none_or(|to| seconds <= to)
            && self.grep.as_ref().is_none_or(|part| text.contains(part.as_str()))
    }
}
