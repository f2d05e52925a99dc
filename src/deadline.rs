//! Waits that end by the clock, however ready everybody is.

use tokio::time::{Instant, timeout_at};

/// Waits for a future until a deadline; `None` if that passes first.
///
/// A timeout of tokio looks at the clock only while the future that it limits is pending. In a loop
/// over a peer that always has more, and another that always takes it, none ever is.
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
    async fn the_deadline_holds_for_what_is_always_ready_and_for_what_never_is() {
        let soon = Instant::now() + Duration::from_secs(1);
        assert_eq!(by(soon, ready(7)).await, Some(7));
        assert_eq!(by(soon, pending::<()>()).await, None);
        assert_eq!(Instant::now(), soon);
        assert_eq!(by(soon, ready(7)).await, None);
    }
}
