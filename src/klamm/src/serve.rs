//! `klamm dev` and `klamm serve`: settings, the broker, its HTTP endpoints, and their end.
//!
//! In: a properties file or the options of `dev`. Out: one line on stdout when clients can connect,
//! logs on stderr. The first SIGINT or SIGTERM stops the broker in good order, a second one at once.
//!
//! Start at [`dev`].

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, LogDirError, StartError};
use console::{Console, ConsoleConfig, Facts, Health, MetricsFormat, Reason};
use metadata::config::{BrokerConfig, Property, parse_properties};
use runtime::Runtime;
use runtime_tokio::{RuntimeConfig, StopSignals, TokioRuntime};
use tracing_subscriber::EnvFilter;

use crate::cli::{BrokerOptions, Dev, LogFormat, Serve};
use crate::failure::Failure;

/// How long blocking work may still take once everything has stopped.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// A broker for one machine: loopback only, data in a directory, nothing to configure.
pub(crate) fn dev(arguments: Dev) -> Result<(), Failure> {
    start_logging(&arguments.broker, "warn");
    let listener = format!("PLAINTEXT://127.0.0.1:{}", arguments.port);
    let directory = arguments.dir.display().to_string();
    let mut properties = vec![
        given("node.id", "1"),
        given("process.roles", "broker,controller"),
        given("listeners", &listener),
        given("log.dirs", &directory),
    ];
    for (key, value) in &arguments.broker.set {
        properties.retain(|property| property.key != *key);
        properties.push(given(key, value));
    }
    let config = resolve(&properties, "the command line")?;
    let hint = format!(
        "name another one with --port, or find the process: ss -ltnp 'sport = :{}'",
        arguments.port
    );
    run(config, &hint, |address| {
        let there = match address {
            "127.0.0.1:9092" => String::new(),
            address => format!(" -b {address}"),
        };
        format!("klamm is ready at {address}: echo hello | klamm produce greetings{there}")
    })
}

/// A broker as `server.properties` describes it.
pub(crate) fn serve(arguments: Serve) -> Result<(), Failure> {
    start_logging(&arguments.broker, "info");
    let path = arguments.config.display().to_string();
    let mut properties = read_properties(&arguments.config)?;
    properties.extend(arguments.broker.set.iter().map(|(key, value)| given(key, value)));
    let config = resolve(&properties, &path)?;
    let hint = format!("`listeners` in {path} says where to listen");
    run(config, &hint, |address| format!("klamm is ready at {address}"))
}

fn given(key: &str, value: &str) -> Property {
    Property { line: None, key: key.to_owned(), value: value.to_owned() }
}

fn read_properties(path: &Path) -> Result<Vec<Property>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = "--config names a file of Kafka's settings, such as server.properties";
        Failure::usage(format!("read {shown}")).because(error).hint(hint)
    })?;
    parse_properties(&text).map_err(|error| Failure::new(format!("{shown}")).because(error))
}

/// The settings, with what there is to say about them on stderr.
fn resolve(properties: &[Property], from: &str) -> Result<BrokerConfig, Failure> {
    let resolved = BrokerConfig::from_properties(properties)
        .map_err(|errors| Failure::usage(format!("{from}: {errors}")))?;
    for note in &resolved.notes {
        if note.is_warning() {
            tracing::warn!("{from}: {note}");
        } else {
            tracing::info!("{from}: {note}");
        }
    }
    Ok(resolved.config)
}

/// Logs on stderr; `KLAMM_LOG` says what (`debug`, `warn,storage=trace`).
fn start_logging(options: &BrokerOptions, default: &str) {
    let filter = EnvFilter::try_from_env("KLAMM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal);
    match options.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Runs a broker until a signal comes.
fn run(config: BrokerConfig, hint: &str, ready: impl Fn(&str) -> String) -> Result<(), Failure> {
    if let Err(error) = runtime_tokio::raise_open_files_limit() {
        tracing::warn!(%error, "raise the limit of open files");
    }
    let executor = TokioRuntime::new(RuntimeConfig::default())
        .map_err(|error| Failure::new("start the executor").because(error))?;
    let signals = executor
        .stop_signals()
        .map_err(|error| Failure::new("take over SIGINT and SIGTERM").because(error))?;
    let ended = executor.block_on(until_stopped(executor.runtime(), config, signals, hint, ready));
    executor.shutdown(SHUTDOWN_LIMIT);
    ended
}

async fn until_stopped(
    runtime: Runtime,
    config: BrokerConfig,
    mut signals: StopSignals,
    hint: &str,
    ready: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    let http = config.http_listener.clone();
    let broker =
        Broker::start(runtime.clone(), config).await.map_err(|error| not_started(error, hint))?;
    let console = match http {
        Some(address) => match serve_http(&runtime, &broker, &address).await {
            Ok(console) => Some(console),
            Err(failure) => {
                broker.stop().await;
                return Err(failure);
            }
        },
        None => None,
    };
    let address = broker.addresses().first().map(ToString::to_string).unwrap_or_default();
    announce(&ready(&address))?;
    let signal = signals.next().await;
    tracing::info!(?signal, "stopping; another signal stops at once");
    let stop = async {
        broker.stop().await;
        if let Some(console) = console {
            console.stop(CONSOLE_GRACE).await;
        }
    };
    runtime::select! {
        () = stop => Ok(()),
        signal = signals.next() => {
            tracing::warn!(?signal, "stopping at once; the next start recovers the logs");
            std::process::exit(ABORTED);
        }
    }
}

/// What to do about a broker that did not start.
fn not_started(error: StartError, listen_hint: &str) -> Failure {
    let hint = match &error {
        StartError::Listen { .. } => Some(listen_hint),
        StartError::LogDir(LogDirError::InUse { .. }) => {
            Some("another broker runs there: stop it, or name another directory (--dir, log.dirs)")
        }
        StartError::LogDir(_)
        | StartError::Metadata(_)
        | StartError::Unavailable(_)
        | StartError::Register(_) => None,
    };
    let failure = Failure::new("start the broker").because(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// How long scrapes that are under way may take at the end.
const CONSOLE_GRACE: Duration = Duration::from_secs(1);

/// Readiness as the broker sees it. A broker that answers HTTP at all is alive.
struct BrokerHealth<F>(F);

impl<F: Fn() -> Vec<String> + Send + Sync + 'static> Health for BrokerHealth<F> {
    fn why_not_live(&self) -> Vec<Reason> {
        Vec::new()
    }

    fn why_not_ready(&self) -> Vec<Reason> {
        let reason = |message| Reason { component: "broker".into(), message };
        (self.0)().into_iter().map(reason).collect()
    }
}

/// `/metrics`, `/livez` and `/readyz` at `klamm.http.listener`.
async fn serve_http(runtime: &Runtime, broker: &Broker, at: &str) -> Result<Console, Failure> {
    let facts = Facts {
        gather_metrics: Arc::new(broker.metrics_gathering()),
        metrics: Arc::new(broker.metrics()),
        metrics_format: MetricsFormat::OpenMetrics,
        health: Arc::new(BrokerHealth(broker.readiness())),
    };
    Console::start(runtime.clone(), ConsoleConfig::new(at), facts).await.map_err(|error| {
        Failure::new("serve HTTP")
            .because(error)
            .hint("`klamm.http.listener` says where: HOST:PORT")
    })
}

/// As a shell says it of a process that SIGINT ended.
const ABORTED: i32 = 130;

fn announce(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(Failure::stdout)
}
