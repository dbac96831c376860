//! Waiting for what must come: the one place where tests sleep until something holds.

use std::{
    future::Future,
    panic::Location,
    time::{Duration, Instant},
};

/// How long anything may take, on a machine that does much else: nothing waits longer, and nothing relies on it.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The pauses between two looks: what is there soon is seen soon.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(8);

/// Asks until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let at = Location::caller();
    async move {
        let (started, mut pause) = (Instant::now(), FIRST);
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "never: {what} (asked at {at})");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}
