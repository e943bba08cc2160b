//! What brokers and clients log during a run. An ERROR that no fault explains fails the run.
//!
//! The subscriber is of the run's thread alone, so that runs side by side do not mix.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::disk::IO_ERROR;
use crate::world::trace::digest;
use crate::world::{Kind, Nanos, World};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Nanos,
    /// How bad.
    pub level: Level,
    /// Which module.
    pub target: String,
    /// The message and its fields.
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.text)
    }
}

/// Where `runtime::sometimes!` speaks.
const PROBES: &str = "klamm::sometimes";

#[derive(Default)]
struct Caught {
    probes: BTreeMap<String, u64>,
    lines: Vec<LogLine>,
    healed_at: Option<Nanos>,
}

/// Catches what this thread logs.
#[derive(Clone)]
pub struct Capture {
    world: World,
    /// What the subscriber sees of the world: nothing once the run is over.
    shown: Arc<Mutex<Option<World>>>,
    caught: Arc<Mutex<Caught>>,
    guard: Arc<Mutex<Option<DefaultGuard>>>,
}

impl Capture {
    /// From now on.
    pub fn start(world: &World) -> Capture {
        let caught = Arc::<Mutex<Caught>>::default();
        let shown = Arc::new(Mutex::new(Some(world.clone())));
        let catcher = Catcher {
            is_recording: world.is_recording(),
            world: Arc::clone(&shown),
            caught: Arc::clone(&caught),
        };
        let guard = Arc::new(Mutex::new(Some(tracing::subscriber::set_default(catcher))));
        Capture { world: world.clone(), shown, caught, guard }
    }

    /// Faults are over: what is still in flight may fail a little longer, then nothing may.
    pub fn healed(&self) {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner).healed_at =
            Some(self.world.now());
    }

    /// How often each probe was reached.
    pub fn probes(&self) -> BTreeMap<String, u64> {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner).probes.clone()
    }

    /// ERROR lines that nothing explains: neither an error of the disk that they repeat, until shortly
    /// after everything was healed, nor a log that is damaged for good and that they name.
    pub fn unexpected(&self, damaged: &[String]) -> Vec<LogLine> {
        const GRACE: Nanos = 5_000_000_000;
        let caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
        let healed = caught.healed_at.map_or(Nanos::MAX, |at| at.saturating_add(GRACE));
        let errors = caught.lines.iter().filter(|line| line.level == Level::ERROR);
        let is_explained = |line: &LogLine| {
            (line.at <= healed && repeats_disk(&line.text)) || names_any(&line.text, damaged)
        };
        errors.filter(|line| !is_explained(line)).cloned().collect()
    }

    /// When a broker first repeated an error of its disk.
    pub fn first_of_disk(&self) -> Option<Nanos> {
        let caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = caught.lines.iter().filter(|line| line.level == Level::ERROR);
        errors.filter(|line| repeats_disk(&line.text)).map(|line| line.at).min()
    }

    /// Stops catching, and lets the world go: a subscriber outlives its guard for a moment when a run
    /// on another thread meets a new call site just then, since `tracing` asks all subscribers about it.
    pub fn end(&self) {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Whether `text` repeats what a disk said that failed, or that it had no room.
pub fn repeats_disk(text: &str) -> bool {
    let no_room = io::Error::from(io::ErrorKind::StorageFull).to_string();
    [IO_ERROR, &no_room, "no room"].iter().any(|said| text.contains(said))
}

/// Whether one of `logs` stands in `text`: `orders-1` does not in `orders-10`.
fn names_any(text: &str, logs: &[String]) -> bool {
    let ends_there = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit());
    let is_named = |log: &String| {
        text.match_indices(log.as_str()).any(|(at, _)| ends_there(&text[at + log.len()..]))
    };
    logs.iter().any(is_named)
}

struct Catcher {
    is_recording: bool,
    world: Arc<Mutex<Option<World>>>,
    caught: Arc<Mutex<Caught>>,
}

impl Subscriber for Catcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == PROBES {
            return true;
        }
        let most = if self.is_recording { Level::INFO } else { Level::WARN };
        metadata.is_event() && *metadata.level() <= most
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        // Probes are events of the lowest level.
        Some(tracing::level_filters::LevelFilter::TRACE)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(world) = world.filter(|world| !world.is_dropping()) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        if event.metadata().target() == PROBES {
            let mut caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
            *caught.probes.entry(text.probe).or_default() += 1;
            return;
        }
        let level = *event.metadata().level();
        let line = LogLine {
            at: world.now(),
            level,
            target: event.metadata().target().to_owned(),
            text: text.line,
        };
        // Only what is caught in every run may count into the hash.
        let words = match level <= Level::WARN {
            true => vec![digest(line.text.as_bytes())],
            false => Vec::new(),
        };
        if level <= Level::WARN {
            world.record(Kind::Log, None, &words, || line.to_string());
            self.caught.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
        } else {
            world.remark(Kind::Log, None, line.to_string());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// `message field=value …`, and the name of a probe.
#[derive(Default)]
struct Text {
    line: String,
    probe: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        if field.name() == "message" {
            self.line.insert_str(0, &format!("{value:?}"));
        } else {
            // Writing to a String can not fail.
            let _ = write!(self.line, " {}={value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "probe" {
            value.clone_into(&mut self.probe);
        } else {
            self.record_debug(field, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_that_another_thread_still_asks_holds_no_world() {
        let world = World::new(1, false);
        let capture = Capture::start(&world);
        let asked = tracing::dispatcher::get_default(Clone::clone);
        tracing::warn!("of this run");
        capture.end();
        let lines = capture.caught.lock().unwrap().lines.len();
        drop(capture);
        assert_eq!((lines, world.handles()), (1, 1));
        drop(asked);
    }
}
