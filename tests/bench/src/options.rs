//! The command line.

use std::fs;
use std::path::{Path, PathBuf};

use dlock_bench_child::Result;

/// What to measure, and where to write it.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How many times everything is measured.
    pub(crate) rounds: usize,
    /// How long each sample is.
    pub(crate) seconds: f64,
    /// Cases whose name has one of these in it; all of them without any.
    pub(crate) only: Vec<String>,
    /// The folder to write to.
    pub(crate) out: PathBuf,
    /// Whether other languages, other workspaces and the heap are measured, which need downloads or another build.
    pub(crate) all_peers: bool,
    /// Whether to write the report of the last run again.
    pub(crate) again: bool,
    /// As it was typed.
    pub(crate) command: String,
}

impl Options {
    /// What `--help` prints.
    pub const HELP: &str = "\
cargo run --release -p dlock-bench -- [OPTION]...

  --rounds N        measure everything so many times (5)
  --seconds S       length of a sample (0.2)
  --only SUBSTRING  cases with this in their name, such as a/postgres/dlock/64, or heap; may be given several times
  --out FOLDER      where to write BENCHMARKS.md and its charts (the root of the repository; with --only target/bench)
  --rust-only       without Python's locks, the crate distributed-lock, and the heap, which need downloads or another build
  --again           only write the report of the last run once more";

    /// `None` when help is wanted.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let mut options = Self {
            rounds: 5,
            seconds: 0.2,
            only: Vec::new(),
            out: PathBuf::new(),
            all_peers: true,
            again: false,
            command: ["cargo run --release -p dlock-bench"]
                .into_iter()
                .chain((!arguments.is_empty()).then_some("--"))
                .chain(arguments.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(" "),
        };
        let mut out = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--only" => options.only.push(value()?.clone()),
                "--out" => out = Some(PathBuf::from(value()?)),
                "--rust-only" => options.all_peers = false,
                "--again" => options.again = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("{other} is no option\n\n{}", Self::HELP).into()),
            }
        }
        if options.rounds == 0 || !(0.01..=60.0).contains(&options.seconds) {
            return Err("at least 1 round, and 0.01 to 60 seconds".into());
        }
        options.out = out.unwrap_or_else(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            match options.only.is_empty() {
                true => root,
                // The report of a part must not replace that of everything.
                false => root.join("target/bench"),
            }
        });
        Ok(Some(options))
    }

    /// Whether a case of this name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }

    /// Whether the heap is.
    pub(crate) fn wants_heap(&self) -> bool {
        self.all_peers && (self.only.is_empty() || self.only.iter().any(|part| part == "heap"))
    }

    pub(crate) fn charts(&self) -> PathBuf {
        self.out.join("tests/bench/charts")
    }

    /// Fails where nothing can be written, which is better known before all is measured.
    pub(crate) fn make_folders(&self) -> Result<()> {
        let charts = self.charts();
        let made = fs::create_dir_all(&charts).and_then(|()| {
            let probe = charts.join(".probe");
            fs::write(&probe, "")?;
            fs::remove_file(probe)
        });
        Ok(made.map_err(|error| format!("cannot write to {}: {error}", charts.display()))?)
    }

    /// What was measured, for `--again`.
    pub(crate) fn results(&self) -> PathBuf {
        self.out.join("tests/bench/results.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_read() {
        let options = parse("--rounds 2 --seconds 0.05 --only a/ --only b/ --out x --rust-only");
        let options = options.unwrap().unwrap();
        assert_eq!((options.rounds, options.seconds), (2, 0.05));
        assert!(options.wants("a/postgres") && options.wants("b/") && !options.wants("c/"));
        assert_eq!(options.charts(), Path::new("x/tests/bench/charts"));
        assert!(!options.all_peers);
        assert!(options.command.ends_with(
            "dlock-bench -- --rounds 2 --seconds 0.05 --only a/ --only b/ --out x --rust-only"
        ));
    }

    #[test]
    fn a_part_is_written_elsewhere() {
        let out = |line| parse(line).unwrap().unwrap().out;
        assert!(out("--rounds 2").ends_with("../.."));
        assert!(out("--only a/").ends_with("target/bench"));
        assert_eq!(out("--only a/ --out x"), Path::new("x"));
    }

    #[test]
    fn the_heap_is_chosen_by_its_name() {
        let wants = |line| parse(line).unwrap().unwrap().wants_heap();
        assert!(wants("") && wants("--only heap"));
        assert!(!wants("--only a") && !wants("--only heap --rust-only"));
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for line in [
            "--round 2",
            "--rounds",
            "--rounds x",
            "--rounds 0",
            "--seconds 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--help").unwrap(), None);
    }
}
