//! A list of cases as a test program: one broker for all of them, started with the first case that
//! runs; clients in processes of their own, started when first needed.
//!
//! In: the tools a suite needs, its cases. Out: libtest's output and exit status, and which cases took
//! longest.
//!
//! Invariants:
//! - cases use topics and groups of their own names, and never two of them one client at once
//! - a failure says what the client and the broker wrote last
//! - nothing that was started outlives the program
//!
//! Start at [`run`].

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use libtest_mimic::{Arguments, Conclusion, Trial};
use tempfile::TempDir;

use crate::driver::Driver;
use crate::install::{Tool, is_ci};
use crate::matrix::Client;
use crate::server::{Peer, Server};

/// What the cases of a suite share.
pub struct Lab {
    peer: Peer,
    directory: TempDir,
    server: OnceLock<std::result::Result<Server, String>>,
    mortals: Mutex<Vec<Server>>,
    drivers: Mutex<BTreeMap<&'static str, Vec<Driver>>>,
    times: Mutex<Vec<(Duration, String)>>,
    run: String,
}

/// What a case does.
pub type Body = Box<dyn FnOnce(&Lab) -> Result<()> + Send>;

/// One case: a name and what to do.
pub struct Case {
    /// `client::group::case`.
    pub name: String,
    /// What has to succeed.
    pub body: Body,
    /// What the machine needs for it beyond the tools of the suite.
    pub tools: Vec<Tool>,
}

impl Case {
    /// A case that needs nothing beyond the tools of its suite.
    pub fn new(
        name: impl Into<String>,
        body: impl FnOnce(&Lab) -> Result<()> + Send + 'static,
    ) -> Case {
        Case { name: name.into(), body: Box::new(body), tools: vec![] }
    }

    /// The same, with more tools.
    #[must_use]
    pub fn with_tools(mut self, tools: &[Tool]) -> Case {
        self.tools.extend_from_slice(tools);
        self
    }
}

impl Lab {
    fn new() -> Result<Lab> {
        let run = format!("{:x}", std::process::id());
        Ok(Lab {
            peer: Peer::from_environment()?,
            directory: tempfile::Builder::new().prefix("klamm-tests-").tempdir()?,
            server: OnceLock::new(),
            mortals: Mutex::default(),
            drivers: Mutex::default(),
            times: Mutex::default(),
            run,
        })
    }

    /// Which broker is under test.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The broker, started if this is the first use.
    ///
    /// # Errors
    /// It did not start.
    pub fn server(&self) -> Result<&Server> {
        self.server
            .get_or_init(|| {
                Server::start(&self.peer, self.directory.path()).map_err(|e| format!("{e:#}"))
            })
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    /// Does something with a broker that may be killed: another one than the suite's, which no other
    /// case has at the same time. One that was not ours to start is not ours to kill: then nothing is
    /// done.
    ///
    /// # Errors
    /// It did not start, or `body` failed; then the next case gets a new one.
    pub fn mortal(&self, body: impl FnOnce(&mut Server) -> Result<()>) -> Result<()> {
        if let Peer::Running(address) = &self.peer {
            println!("SKIPPED: {address} is not ours to kill");
            return Ok(());
        }
        let idle = locked(&self.mortals).pop();
        let mut server = match idle {
            Some(server) => server,
            None => {
                let parent = self.directory.path();
                let directory = tempfile::Builder::new().prefix("mortal-").tempdir_in(parent)?;
                Server::start(&self.peer, &directory.keep())?
            }
        };
        if let Err(error) = body(&mut server) {
            bail!(
                "{error:#}\n--- the log of the broker that may be killed ---\n{}",
                server.log_tail()
            );
        }
        locked(&self.mortals).push(server);
        Ok(())
    }

    /// Where logs of processes belong; it is gone with the suite.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whether created topics have to be waited for.
    pub fn settles(&self) -> bool {
        self.peer != Peer::Klamm
    }

    /// Where clients connect to.
    ///
    /// # Errors
    /// The broker did not start.
    pub fn address(&self) -> Result<String> {
        Ok(self.server()?.address())
    }

    /// The name of a topic that only this case of this run uses.
    pub fn topic(&self, case: &str) -> String {
        format!("{}-{}", case.replace("::", "-").replace(' ', "-"), self.run)
    }

    /// Does something with a client, which is started if it does not run.
    ///
    /// # Errors
    /// The client did not start, or `body` failed.
    pub fn with<T>(
        &self,
        client: &Client,
        body: impl FnOnce(&mut Driver) -> Result<T>,
    ) -> Result<T> {
        let mut driver = self.take(client)?;
        let result = body(&mut driver).with_context(|| format!("with {}", client.name));
        self.give_back(client, driver);
        result
    }

    /// The client, out of the store: two of them can work at once.
    ///
    /// # Errors
    /// The client did not start.
    pub fn take(&self, client: &Client) -> Result<Driver> {
        let idle = locked(&self.drivers).get_mut(client.name).and_then(Vec::pop);
        if let Some(driver) = idle {
            return Ok(driver);
        }
        let mut command = (client.command)(&self.address()?)
            .with_context(|| format!("install {}", client.name))?;
        let log = self.directory.path().join(format!("{}.log", client.name));
        Driver::start(&mut command, &log, self.settles())
            .with_context(|| format!("start {}", client.name))
    }

    /// Back into the store.
    pub fn give_back(&self, client: &Client, driver: Driver) {
        if !driver.is_broken() {
            locked(&self.drivers).entry(client.name).or_default().push(driver);
        }
    }

    fn broker_log_tail(&self) -> String {
        match self.server.get() {
            Some(Ok(server)) => server.log_tail(),
            Some(Err(_)) | None => String::new(),
        }
    }
}

/// Runs the cases that the arguments ask for, one after the other. Without one of the `tools` they are
/// skipped by name, or fail where `CI=true`.
pub fn run(tools: &[Tool], cases: Vec<Case>) -> ExitCode {
    run_beside(1, tools, cases)
}

/// As [`run`], `threads` cases beside each other, for suites whose cases wait most of their time.
/// `--test-threads` says otherwise.
pub fn run_beside(threads: usize, tools: &[Tool], cases: Vec<Case>) -> ExitCode {
    let begun = Instant::now();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let lab = match Lab::new() {
        Ok(lab) => Arc::new(lab),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut here = BTreeMap::new();
    let mut missing = |tool: Tool| {
        !*here.entry(tool.name()).or_insert_with(|| {
            let is_here = tool.is_here();
            if !is_here {
                println!("SKIPPED: {} not found", tool.name());
            }
            is_here
        })
    };
    let trials = cases
        .into_iter()
        .map(|case| {
            let lacks = (!arguments.list)
                .then(|| tools.iter().chain(&case.tools).copied().find(|&tool| missing(tool)))
                .flatten();
            trial(&lab, case, lacks)
        })
        .collect();
    let conclusion: Conclusion = libtest_mimic::run(&arguments, trials);
    tell_times(&locked(&lab.times), begun.elapsed());
    drop(lab);
    conclusion.exit_code()
}

fn trial(lab: &Arc<Lab>, case: Case, lacks: Option<Tool>) -> Trial {
    let is_ci = is_ci();
    if let Some(tool) = lacks {
        let why = format!("SKIPPED: {} not found", tool.name());
        return Trial::test(case.name, move || Err(why.into())).with_ignored_flag(!is_ci);
    }
    let lab = Arc::clone(lab);
    let name = case.name.clone();
    Trial::test(case.name, move || {
        let begun = Instant::now();
        let done = (case.body)(&lab);
        locked(&lab.times).push((begun.elapsed(), name));
        done.map_err(|error| {
            format!("{error:#}\n--- the broker's log ---\n{}", lab.broker_log_tail()).into()
        })
    })
}

/// Which cases to look at when a suite takes too long.
fn tell_times(times: &[(Duration, String)], took: Duration) {
    const SHOWN: usize = 10;
    let mut times = times.to_vec();
    times.sort_by(|a, b| b.cmp(a));
    let sum: Duration = times.iter().map(|(time, _)| *time).sum();
    let (sum, took) = (sum.as_secs_f64(), took.as_secs_f64());
    println!("{} cases of {sum:.1} s together took {took:.1} s; the longest:", times.len());
    for (time, name) in times.iter().take(SHOWN) {
        println!("{:8.1} s  {name}", time.as_secs_f64());
    }
}

/// A panic of one case is no reason for the others to fail.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
