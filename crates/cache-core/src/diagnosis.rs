//! [`Diagnosis`]: the result of a check, for an operator.

use serde::Serialize;

/// The result of one check. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Diagnosis {
    /// Nothing is wrong.
    Fine(String),
    /// It works, and something should be changed.
    Doubtful {
        /// The problem.
        found: String,
        /// What to do about it.
        advice: String,
    },
    /// It does not work.
    Wrong {
        /// The problem.
        found: String,
        /// What to do about it.
        advice: String,
    },
}

impl Diagnosis {
    /// Makes the finding that a start would be refused with `error`: its text after a semicolon is the advice, else `advice`.
    pub fn refused(error: &str, advice: &str) -> Self {
        let (found, advice) = error.split_once("; ").unwrap_or((error, advice));
        Self::Wrong { found: found.to_owned(), advice: advice.to_owned() }
    }
}
