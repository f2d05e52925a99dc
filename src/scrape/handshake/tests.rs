use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn every_step_of_a_handshake_takes_a_turn_and_none_is_held_while_it_waits() {
    const STEPS: usize = 3;
    let turns = Semaphore::new(1);
    let (scraper, mut hello) = mpsc::channel(1);
    let handshake = async {
        for _ in 0..STEPS {
            assert_eq!(turns.available_permits(), 0);
            hello.recv().await.unwrap();
        }
        assert_eq!(turns.available_permits(), 0);
    };
    let steps = async {
        for _ in 0..STEPS {
            drop(turns.acquire().await);
            scraper.send(()).await.unwrap();
        }
    };
    tokio::join!(by_turns(&turns, handshake), steps);
    assert_eq!(turns.available_permits(), 1);
}
