//! A timeout that also ends futures that are always ready.

use tokio::time::{Instant, timeout_at};

/// Waits for a future until a deadline; `None` after the deadline.
///
/// tokio's timeout checks the clock only while its future is pending. In a relay between a fast
/// sender and a fast receiver, futures may never be pending.
pub(crate) async fn by<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    if Instant::now() >= deadline {
        return None;
    }
    timeout_at(deadline, future).await.ok()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_applies_to_ready_and_pending_futures() {
        let soon = Instant::now() + Duration::from_secs(1);
        assert_eq!(by(soon, ready(7)).await, Some(7));
        assert_eq!(by(soon, pending::<()>()).await, None);
        assert_eq!(Instant::now(), soon);
        assert_eq!(by(soon, ready(7)).await, None);
    }
}
