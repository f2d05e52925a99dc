//! Connections to peers that read late.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// More than the kernel buffers for a peer that reads nothing.
const LARGE: usize = 4 << 20;

fn connected(socket: OwnedFd) -> PeerStream<()> {
    let passing = Passing::Refused;
    let (stream, passing) = NewSocket { socket, passing }.into_stream().unwrap();
    PeerStream::new(stream, (), passing, &Arc::default()).unwrap()
}

#[tokio::test]
async fn a_write_waits_for_its_peer_and_reads_go_on() {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let pair = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let (ours, theirs) = pair.unwrap();
    let ours = connected(ours);
    assert!(matches!(ours.stream, Some(Registered::ReadOnly(_))));
    let mut theirs = UnixStream::from_std(theirs.into()).unwrap();
    let (mut reader, mut writer) = tokio::io::split(ours);
    let sent = vec![7; LARGE];
    let mut answer = [0; 2];
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let peer = async {
        // Answers first, when the write waits, and only then reads.
        theirs.write_all(b"up").await.unwrap();
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        received
    };
    let read = async { reader.read_exact(&mut answer).await.unwrap() };
    // The read waits before the write begins.
    let (_, (), received) = tokio::join!(read, write, peer);
    assert_eq!(&answer, b"up");
    assert!(received == sent);
}
