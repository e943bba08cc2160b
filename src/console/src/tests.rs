//! The console as a client on a plain byte stream sees it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{Console, ConsoleConfig, Facts, Health, MetricsFormat, Reason, StartError};
use runtime::sync::{Notify, oneshot};
use runtime::{Runtime, Stream, sleep, spawn, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Health that a test can change.
#[derive(Default)]
struct Patient {
    live: Mutex<Vec<Reason>>,
    ready: Mutex<Vec<Reason>>,
}

impl Health for Patient {
    fn why_not_live(&self) -> Vec<Reason> {
        self.live.lock().unwrap().clone()
    }

    fn why_not_ready(&self) -> Vec<Reason> {
        self.ready.lock().unwrap().clone()
    }
}

fn facts() -> Facts {
    Facts {
        gather_metrics: Arc::new(|| Box::pin(async {})),
        metrics: Arc::new(|| "# TYPE up gauge\nup 1\n".to_owned()),
        metrics_format: MetricsFormat::Prometheus,
        health: Arc::new(Patient::default()),
    }
}

fn config() -> ConsoleConfig {
    ConsoleConfig::new("127.0.0.1:0")
}

struct Fixture {
    runtime: Runtime,
    console: Console,
}

/// Runs `test` against a console.
fn with_console<F: Future<Output = ()>>(
    config: ConsoleConfig,
    facts: Facts,
    test: impl FnOnce(Fixture) -> F,
) {
    let run = |runtime: Runtime| async move {
        let console = Console::start(runtime.clone(), config, facts).await.unwrap();
        let clock = Arc::clone(&runtime.clock);
        let limit = Duration::from_secs(60);
        timeout(&*clock, limit, test(Fixture { runtime, console })).await.expect("the test hangs");
    };
    runtime_tokio::run(run).unwrap();
}

impl Fixture {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        self.runtime.net.connect(&self.console.local_addr().to_string()).await
    }

    /// Sends `request`, and reads to the end of the connection.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_text(&mut *stream).await
    }

    /// Status, head and body of a GET of `path`.
    async fn get(&self, path: &str) -> (u16, String, String) {
        let answer = self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        split(&answer)
    }
}

async fn read_text(stream: &mut dyn Stream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn split(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[test]
fn metrics_are_served_as_they_are() {
    with_console(config(), facts(), |fixture| async move {
        let (status, head, body) = fixture.get("/metrics").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(body, "# TYPE up gauge\nup 1\n");
    });
}

#[test]
fn metrics_are_written_down_at_each_scrape() {
    let scrapes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&scrapes);
    let gathered = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&gathered);
    let metrics = Arc::new(move || {
        let gathered = seen.load(Ordering::SeqCst);
        format!("scrapes {} {gathered}\n", counter.fetch_add(1, Ordering::SeqCst))
    });
    let gather_metrics = Arc::new(move || {
        gathered.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {}) as runtime::BoxFuture<'static, ()>
    });
    let metrics_format = MetricsFormat::OpenMetrics;
    let facts = Facts { gather_metrics, metrics, metrics_format, ..facts() };
    with_console(config(), facts, |fixture| async move {
        let (_, head, body) = fixture.get("/metrics").await;
        assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
        assert_eq!(body, "scrapes 0 1\n");
        assert_eq!(fixture.get("/metrics?x=y").await.2, "scrapes 1 2\n");
    });
}

#[test]
fn metrics_that_panic_are_an_error_of_the_server() {
    let facts = Facts { metrics: Arc::new(|| panic!("on purpose")), ..facts() };
    with_console(config(), facts, |fixture| async move {
        assert_eq!(fixture.get("/metrics").await.0, 500);
        assert_eq!(fixture.get("/livez").await.0, 200);
    });
}

#[test]
fn large_metrics_arrive_whole() {
    let text = "metric_of_some_length{partition=\"1\"} 1\n".repeat(100_000);
    let expected = text.clone();
    let facts = Facts { metrics: Arc::new(move || text.clone()), ..facts() };
    with_console(config(), facts, |fixture| async move {
        assert!(fixture.get("/metrics").await.2 == expected);
    });
}

#[test]
fn health_says_why() {
    let patient = Arc::new(Patient::default());
    let facts = Facts { health: Arc::clone(&patient) as Arc<dyn Health>, ..facts() };
    with_console(config(), facts, |fixture| async move {
        let reason = |component: &str, message: &str| Reason {
            component: component.to_owned(),
            message: message.to_owned(),
        };
        let (status, head, body) = fixture.get("/readyz").await;
        assert_eq!((status, body.as_str()), (200, "{\"status\":\"ready\",\"reasons\":[]}\n"));
        assert!(head.contains("content-type: application/json"), "{head}");

        *patient.ready.lock().unwrap() =
            vec![reason("log-dir", "a \"bad\" disk"), reason("x", "y")];
        let (status, _, body) = fixture.get("/readyz").await;
        let expected = "{\"status\":\"not ready\",\"reasons\":[\
            {\"component\":\"log-dir\",\"message\":\"a \\\"bad\\\" disk\"},\
            {\"component\":\"x\",\"message\":\"y\"}]}\n";
        assert_eq!((status, body.as_str()), (503, expected));
        assert_eq!(fixture.get("/livez").await.0, 200, "not ready is not dead");

        patient.ready.lock().unwrap().clear();
        *patient.live.lock().unwrap() = vec![reason("x", "y")];
        assert_eq!(fixture.get("/livez").await.0, 503);
        assert_eq!(fixture.get("/readyz").await.0, 200);
    });
}

#[test]
fn index_names_what_there_is() {
    with_console(config(), facts(), |fixture| async move {
        let (status, _, index) = fixture.get("/").await;
        assert_eq!(status, 200);
        for path in ["/metrics", "/livez", "/readyz"] {
            assert!(index.contains(path), "{index}");
            assert_eq!(fixture.get(path).await.0, 200);
        }
        let (status, _, hint) = fixture.get("/metric").await;
        assert_eq!(status, 404);
        assert!(hint.contains("/metric;") && hint.contains("/metrics"), "{hint}");
    });
}

#[test]
fn other_methods_are_told_so() {
    with_console(config(), facts(), |fixture| async move {
        let answer = fixture.exchange("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let (status, head, body) = split(&answer);
        assert_eq!((status, body.as_str()), (200, ""));
        assert!(head.contains("content-length: 21"), "{head}");
        let post = "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
        let (status, head, _) = split(&fixture.exchange(post).await);
        assert_eq!(status, 405);
        assert!(head.contains("allow: get"), "{head}");
    });
}

#[test]
fn a_request_in_single_bytes_is_served() {
    with_console(config(), facts(), |fixture| async move {
        let mut stream = fixture.connect().await.unwrap();
        for byte in b"GET /livez HTTP/1.0\r\n\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
            runtime::tokio::task::yield_now().await;
        }
        // Some clients end their side at once.
        stream.shutdown().await.unwrap();
        let answer = read_text(&mut *stream).await;
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    });
}

#[test]
fn garbage_is_refused() {
    with_console(config(), facts(), |fixture| async move {
        for garbage in ["\0\0\0\x1c\0\x12\0\x03\0\0\0\x01\r\n\r\n", "GET\r\n\r\n"] {
            let (status, _, _) = split(&fixture.exchange(garbage).await);
            assert_eq!(status, 400, "{garbage:?}");
        }
        assert_eq!(fixture.get("/livez").await.0, 200);
    });
}

#[test]
fn heads_and_bodies_have_limits() {
    with_console(config(), facts(), |fixture| async move {
        let long = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(10_000));
        assert_eq!(split(&fixture.exchange(&long).await).0, 200);

        let headers = "a: b\r\n".repeat(100);
        let many = format!("GET /livez HTTP/1.1\r\n{headers}\r\n");
        assert_eq!(split(&fixture.exchange(&many).await).0, 431);

        let body = "z".repeat(64 * 1024);
        let post = |body: &str| {
            let len = body.len();
            format!("POST / HTTP/1.1\r\ncontent-length: {len}\r\n\r\n{body}")
        };
        assert_eq!(split(&fixture.exchange(&post(&body)).await).0, 405);
        let announced = "POST / HTTP/1.1\r\ncontent-length: 65537\r\n\r\n";
        assert_eq!(split(&fixture.exchange(announced).await).0, 413);
    });
}

/// What a connection gives before it ends, whether by an end or by a reset.
async fn drain(mut stream: Box<dyn Stream>) -> usize {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes.len()
}

#[test]
fn a_client_that_dawdles_is_cut_off() {
    let config = ConsoleConfig { exchange_limit: Duration::from_millis(50), ..config() };
    with_console(config, facts(), |fixture| async move {
        let silent = fixture.connect().await.unwrap();
        assert_eq!(drain(silent).await, 0);

        let mut half = fixture.connect().await.unwrap();
        half.write_all(b"GET /livez HTTP/1.1\r\nx: ").await.unwrap();
        assert_eq!(drain(half).await, 0);

        let mut body = fixture.connect().await.unwrap();
        body.write_all(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
        assert_eq!(drain(body).await, 0);
    });
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let config = ConsoleConfig {
        exchange_limit: Duration::from_millis(300),
        connections_max: 1,
        ..config()
    };
    let text = "x".repeat(64 * 1024 * 1024);
    let facts = Facts { metrics: Arc::new(move || text.clone()), ..facts() };
    with_console(config, facts, |fixture| async move {
        let mut stream = fixture.connect().await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
        // The only slot is free again although nothing was read.
        assert_eq!(fixture.get("/livez").await.0, 200);
        assert!(drain(stream).await < 64 * 1024 * 1024);
    });
}

/// Lets held metrics go when it is dropped, so also when the test panics.
struct Hold(Arc<AtomicBool>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Metrics that are not written down while they are held, and tell when they were asked for.
fn held() -> (Facts, Arc<Notify>, Hold) {
    let (asked, may) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (tell, look) = (Arc::clone(&asked), Arc::clone(&may));
    let metrics = move || {
        tell.notify_one();
        while !look.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        "held\n".to_owned()
    };
    (Facts { metrics: Arc::new(metrics), ..facts() }, asked, Hold(may))
}

#[test]
fn connections_have_a_maximum() {
    let (facts, asked, hold) = held();
    with_console(ConsoleConfig { connections_max: 1, ..config() }, facts, |fixture| async move {
        let mut first = fixture.connect().await.unwrap();
        first.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
        asked.notified().await;
        let mut second = fixture.connect().await.unwrap();
        second.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.unwrap();
        let clock = &*fixture.runtime.clock;
        let early = timeout(clock, Duration::from_millis(50), second.read_u8()).await;
        assert!(early.is_err(), "served beside the first");
        drop(hold);
        assert_eq!(split(&read_text(&mut *first).await).2, "held\n");
        assert_eq!(split(&read_text(&mut *second).await).0, 200);
    });
}

#[test]
fn stop_lets_a_request_end() {
    let (facts, asked, hold) = held();
    with_console(config(), facts, |fixture| async move {
        let mut busy = fixture.connect().await.unwrap();
        busy.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
        asked.notified().await;
        let idle = fixture.connect().await.unwrap();
        let (runtime, address) = (fixture.runtime.clone(), fixture.console.local_addr());
        let (told, stopped) = oneshot::channel();
        spawn(&runtime, "stopper", async move {
            fixture.console.stop(Duration::from_secs(60)).await;
            told.send(()).unwrap();
        });
        // Ended without waiting for the busy one: by its close, or never accepted.
        assert_eq!(drain(idle).await, 0);
        while runtime.net.connect(&address.to_string()).await.is_ok() {
            sleep(&*runtime.clock, Duration::from_millis(1)).await;
        }
        drop(hold);
        assert_eq!(split(&read_text(&mut *busy).await).2, "held\n");
        stopped.await.unwrap();
    });
}

#[test]
fn stop_without_grace_closes_at_once() {
    with_console(config(), facts(), |fixture| async move {
        let mut half = fixture.connect().await.unwrap();
        half.write_all(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
        let whole = fixture.get("/livez").await.0;
        assert_eq!(whole, 200, "the one before it was accepted too");
        fixture.console.stop(Duration::ZERO).await;
        assert_eq!(drain(half).await, 0);
    });
}

#[test]
fn dropped_console_listens_no_more() {
    with_console(config(), facts(), |fixture| async move {
        let Fixture { runtime, console } = fixture;
        let address = console.local_addr().to_string();
        drop(console);
        while runtime.net.listen(&address).await.is_err() {
            sleep(&*runtime.clock, Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn an_address_in_use_is_an_error() {
    with_console(config(), facts(), |fixture| async move {
        let taken = ConsoleConfig::new(fixture.console.local_addr().to_string());
        let second = Console::start(fixture.runtime.clone(), taken.clone(), facts()).await;
        let StartError::Listen { address, source } = second.unwrap_err();
        assert_eq!((address, source.kind()), (taken.address, io::ErrorKind::AddrInUse));
    });
}
