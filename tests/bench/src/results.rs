//! What all rounds have brought.

use std::collections::BTreeMap;
use std::fs;

use dlock_bench_child::Result;
use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::heap::Heap;
use crate::machine::Machine;
use crate::options::Options;
use crate::statistics::{median, p99, ratios, spread};

/// Everything that a report needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    pub(crate) machine: Machine,
    pub(crate) command: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// How long it took, in seconds.
    pub(crate) took: f64,
    /// Of each setting, each case.
    pub(crate) settings: Vec<(Cores, BTreeMap<String, Measured>)>,
    pub(crate) heap: Vec<Heap>,
    /// What is not in it, and why.
    pub(crate) missing: Vec<(String, String)>,
}

/// The rounds of one case in one setting.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// `None` where it failed.
    pub(crate) rounds: Vec<Option<Numbers>>,
    /// Seconds of all hand-overs.
    pub(crate) hand_overs: Vec<f64>,
    /// The last one.
    pub(crate) failure: Option<String>,
}

/// What was measured in a round, by name.
pub(crate) type Numbers = BTreeMap<String, f64>;

impl Measured {
    /// Of each round.
    pub(crate) fn of(&self, name: &str) -> Vec<Option<f64>> {
        let number = |round: &Option<Numbers>| round.as_ref()?.get(name).copied();
        self.rounds.iter().map(number).collect()
    }

    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        median(&self.there(name))
    }

    pub(crate) fn spread(&self, name: &str) -> Option<(f64, f64)> {
        spread(&self.there(name))
    }

    /// Of the hand-overs of all rounds.
    pub(crate) fn hand_over_p99(&self) -> Option<f64> {
        p99(&self.hand_overs)
    }

    pub(crate) fn there(&self, name: &str) -> Vec<f64> {
        self.of(name).into_iter().flatten().collect()
    }
}

impl Results {
    pub(crate) fn case(&self, cores: Cores, name: &str) -> Option<&Measured> {
        let (_, cases) = self
            .settings
            .iter()
            .find(|(setting, _)| *setting == cores)?;
        cases.get(name)
    }

    /// The ratios within the rounds, of a number to another, each with the name of its case.
    pub(crate) fn ratios(&self, cores: Cores, one: (&str, &str), other: (&str, &str)) -> Vec<f64> {
        let [one, other] = [one, other].map(|(case, number)| {
            let case = self.case(cores, case);
            case.map_or_else(Vec::new, |case| case.of(number))
        });
        ratios(&one, &other)
    }

    pub(crate) fn save(&self, options: &Options) -> Result<()> {
        Ok(fs::write(options.results(), serde_json::to_string(self)?)?)
    }

    pub(crate) fn load(options: &Options) -> Result<Self> {
        let path = options.results();
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}
