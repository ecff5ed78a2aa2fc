//! Everything, round by round, so that a machine that is slow for a while is slow for all.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use dlock_bench_child::Result;

use crate::collect::{Cleaned, Ground, collect};
use crate::cores::{Cores, Pinned, Pinning};
use crate::heap::Heap;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::options::Options;
use crate::peers::Peers;
use crate::plan::{Case, cases};
use crate::report::database;
use crate::results::{Measured, Results};
use crate::servers::Server;
use crate::sessions::Sessions;

/// Measures, or loads what was measured.
///
/// # Errors
///
/// Whatever makes it impossible to measure anything; what fails in a case is in the results.
pub fn measure(options: &Options) -> Result<Results> {
    if options.again {
        return Results::load(options);
    }
    let heap = options.wants_heap();
    if !heap && !cases().iter().any(|case| options.wants(&case.name())) {
        return Err("--only leaves nothing to measure".into());
    }
    options.make_folders()?;
    let start = Instant::now();
    let interrupt = Interrupt::listen()?;
    let peers = Peers::prepare(options.all_peers)?;
    interrupt.check()?;
    let mut servers = Server::needed(|name| {
        let mut cases = cases().into_iter();
        heap || cases.any(|case| case.server == name && options.wants(&case.name()))
    });
    interrupt.check()?;
    let (mut sessions, dead) = Sessions::connect(&mut servers)?;
    let versions = servers
        .iter()
        .map(|server| format!("server {}", server.name));
    let mut versions: BTreeMap<_, _> = versions.zip(sessions.versions()?).collect();
    versions.extend(
        peers
            .versions
            .iter()
            .map(|(name, version)| (format!("package {name}"), version.clone())),
    );
    let missing = peers
        .missing()
        .map(|(name, why)| (name.to_owned(), why.to_owned()));
    let mut results = Results {
        machine: Machine::look(versions),
        command: options.command.clone(),
        seconds: options.seconds,
        missing: missing.collect(),
        ..Results::default()
    };
    results.missing.extend(absent(options, &servers, &dead));
    let pinning = pinning(&servers, &mut results);
    let settings = if pinning.is_some() {
        vec![Cores::One, Cores::All]
    } else {
        vec![Cores::All]
    };
    results.settings = settings
        .into_iter()
        .map(|cores| (cores, BTreeMap::new()))
        .collect();
    let wanted: Vec<_> = wanted(options, &servers, &peers).collect();
    if wanted.is_empty() && !heap {
        return Err(
            "nothing to measure: the servers or programs of these cases are missing".into(),
        );
    }
    let mut progress = Progress::new(options.rounds * results.settings.len() * wanted.len());
    let cleaned = Cleaned;
    let rounds = if wanted.is_empty() { 0 } else { options.rounds };
    for round in 0..rounds {
        for (cores, measured) in &mut results.settings {
            let pinning = pinning.as_ref();
            let _pinned = pinning
                .map(|pinning| Pinned::pin(pinning, &servers, *cores))
                .transpose()?;
            for (case, url) in in_turn(&wanted, round, options.rounds) {
                interrupt.check()?;
                progress.step(&case.name());
                if round > 0 && case.once() {
                    continue;
                }
                sessions.wait_for_quiet(&servers)?;
                let ground = Ground {
                    peers: &peers,
                    pinning,
                    cores: *cores,
                    url,
                    seconds: options.seconds,
                };
                let done = collect(case, &ground);
                // It ended the children, too.
                interrupt.check()?;
                measured.entry(case.name()).or_default().add(done);
            }
        }
        results.rounds = round + 1;
        results.took = start.elapsed().as_secs_f64();
        results.save(options)?;
    }
    drop(cleaned);
    if heap {
        progress.end("heap");
        match Heap::measure(&servers) {
            Ok(heap) => results.heap = heap,
            Err(error) => results.missing.push(("heap".to_owned(), error.to_string())),
        }
    }
    interrupt.check()?;
    progress.end("");
    results.took = start.elapsed().as_secs_f64();
    results.save(options)?;
    Ok(results)
}

/// The servers of wanted cases that could not be had; of those that are not dead standard error has the reasons.
fn absent(
    options: &Options,
    servers: &[Server],
    dead: &BTreeMap<&str, String>,
) -> BTreeSet<(String, String)> {
    let cases = cases().into_iter();
    cases
        .filter(|case| options.wants(&case.name()))
        .filter(|case| servers.iter().all(|server| server.name != case.server))
        .map(|case| {
            let why = dead.get(case.server).map_or_else(
                || "the server was not given, and could not be started".to_owned(),
                |why| format!("the server does not answer: {why}"),
            );
            (database(case.server).to_owned(), why)
        })
        .collect()
}

/// Servers of others cannot be pinned, and without them the setting makes no sense.
fn pinning(servers: &[Server], results: &mut Results) -> Option<Pinning> {
    let others = servers
        .iter()
        .any(|server| server.folder.is_none() && server.name != "sqlite");
    let pinning = Pinning::find();
    let why = match (&pinning, others) {
        (None, _) => "there is no taskset here",
        (_, true) => "a server was given by its URL, and so cannot be pinned",
        _ if results.machine.cores == 1 => "there is but one core",
        _ => return pinning,
    };
    results
        .missing
        .push(("one core".to_owned(), why.to_owned()));
    None
}

fn wanted<'a>(
    options: &Options,
    servers: &'a [Server],
    peers: &Peers,
) -> impl Iterator<Item = (Case, &'a str)> {
    let cases = cases()
        .into_iter()
        .filter(|case| options.wants(&case.name()) && peers.program(case.program).is_ok());
    cases.filter_map(|case| {
        let server = servers.iter().find(|server| server.name == case.server)?;
        Some((case, server.url.as_str()))
    })
}

/// Each round begins elsewhere, and every second one goes backwards.
fn in_turn<T>(cases: &[T], round: usize, rounds: usize) -> Vec<&T> {
    let mut cases: Vec<_> = cases.iter().collect();
    let begin = round * cases.len() / rounds;
    cases.rotate_left(begin);
    if round % 2 == 1 {
        cases.reverse();
    }
    cases
}

impl Measured {
    fn add(&mut self, done: Result<(crate::results::Numbers, Vec<f64>)>) {
        match done {
            Ok((numbers, hand_overs)) => {
                self.rounds.push(Some(numbers));
                self.hand_overs.extend(hand_overs);
            }
            Err(error) => {
                self.rounds.push(None);
                self.failure = Some(error.to_string());
            }
        }
    }
}

/// What is done, on standard error.
struct Progress {
    start: Instant,
    done: usize,
    all: usize,
    last: Option<Instant>,
}

impl Progress {
    fn new(all: usize) -> Self {
        let start = Instant::now();
        let (done, last) = (0, None);
        Self {
            start,
            done,
            all,
            last,
        }
    }

    /// A line that changes, or on anything but a terminal one every 30 s.
    fn step(&mut self, name: &str) {
        let terminal = io::stderr().is_terminal();
        if terminal
            || self
                .last
                .is_none_or(|last| last.elapsed() > Duration::from_secs(30))
        {
            self.last = Some(Instant::now());
            let left = self.start.elapsed().as_secs_f64() / self.done.max(1) as f64
                * (self.all - self.done) as f64;
            let left = match self.done {
                0 => String::new(),
                _ => format!(
                    ", about {} left",
                    humantime::format_duration(Duration::from_secs(left as u64))
                ),
            };
            let (begin, end) = if terminal {
                ("\r\x1b[K", "")
            } else {
                ("", "\n")
            };
            eprint!(
                "{begin}{} of {}{left}: {name}{end}",
                self.done + 1,
                self.all
            );
            // Nothing depends on it.
            let _ = io::stderr().flush();
        }
        self.done += 1;
    }

    fn end(&self, next: &str) {
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        if !next.is_empty() {
            eprintln!("{next}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_changes_from_round_to_round() {
        let cases = [1, 2, 3, 4];
        let orders: Vec<_> = (0..3).map(|round| in_turn(&cases, round, 3)).collect();
        assert_eq!(
            orders,
            [[&1, &2, &3, &4], [&1, &4, &3, &2], [&3, &4, &1, &2]]
        );
    }
}
