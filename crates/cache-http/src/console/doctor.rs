//! The route `doctor`: the checks of the running cache, each with what to do.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use cache_facade::doctor::{Check, Diagnosis};
use serde::Serialize;

use super::ConsoleState;
use super::access::check_read;
use super::answer::{Refusal, json};

#[derive(Serialize)]
struct Answer {
    /// Whether nothing is wrong.
    healthy: bool,
    checks: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    name: String,
    /// `fine`, `doubtful` or `wrong`.
    result: &'static str,
    found: String,
    /// `None` where nothing is to be done.
    advice: Option<String>,
}

impl From<Check> for Finding {
    fn from(Check { name, diagnosis, .. }: Check) -> Self {
        let (result, found, advice) = match diagnosis {
            Diagnosis::Fine(found) => ("fine", found, None),
            Diagnosis::Doubtful { found, advice } => ("doubtful", found, Some(advice)),
            Diagnosis::Wrong { found, advice } => ("wrong", found, Some(advice)),
        };
        Self { name, result, found, advice }
    }
}

/// Answers with the checks of the cache.
pub(super) async fn diagnose(
    State(state): State<ConsoleState>,
    request: Request,
) -> Result<Response, Refusal> {
    check_read(&request.into_parts().0)?;
    // The checks may open connections: pages that ask together wait for each other.
    let _one = state.one_at_a_time.lock().await;
    let report = state.cache.diagnose().await;
    let healthy = report.is_healthy();
    let checks = report.checks.into_iter().map(Finding::from).collect();
    Ok(json(StatusCode::OK, &Answer { healthy, checks }))
}
