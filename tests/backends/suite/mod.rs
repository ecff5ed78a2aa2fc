//! The contract: what every backend promises, written once.
