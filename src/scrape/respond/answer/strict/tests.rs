use proptest::prelude::*;

use super::*;

/// How much of these bytes goes on, and why no more does, however they are cut.
fn followed(bytes: &[u8]) -> (usize, Option<io::ErrorKind>) {
    let of = |piece: usize| {
        let mut strict = Strict::new(MAX_HEAD);
        let mut good = 0;
        for piece in bytes.chunks(piece) {
            good += strict.follow(piece);
            if let Some(refused) = strict.refused() {
                return (good, Some(refused.kind()));
            }
        }
        (good, None)
    };
    let whole = of(bytes.len());
    for piece in [1, 2, 7] {
        assert_eq!(of(piece), whole, "{}", bytes.escape_ascii());
    }
    whole
}

const MAX_HEAD: usize = 200;
const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";

fn is_good(bytes: &str) -> bool {
    followed(bytes.as_bytes()) == (bytes.len(), None)
}

/// Whether just these bytes go on, and what follows them is malformed.
fn ends_behind(good: &str, bad: &str) -> bool {
    let all = [good, bad].concat();
    followed(all.as_bytes()) == (good.len(), Some(io::ErrorKind::InvalidData))
}

#[test]
fn good_answers_go_on_whole() {
    for chunks in [
        "0\r\n\r\n",
        "5\r\nup 1\n\r\n0\r\n\r\n",
        "3;ext=1\r\nup \r\n2\r\n1\n\r\n0\r\nX: y\r\nZ:\r\n\r\n",
        "5;a;b=\"c\"\r\n\r\n\r\n\n\r\n0;d\r\n\r\n",
        "0000000000000005\r\nup 1\n\r\n000\r\n\r\n",
        "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\nwhat follows \n is not read",
    ] {
        assert!(is_good(&format!("{HEAD}{chunks}")), "{chunks:?}");
    }
    assert!(is_good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\n\n"));
    assert!(is_good("HTTP/1.0 500 Oops\r\n\r\n \n\r"));
    assert!(is_good("HTTP/1.1 101 Switching Protocols\r\n\r\n\n"));
    assert!(is_good(&INTERIM.repeat(MAX_INTERIM_ANSWERS)));
}

#[test]
fn heads_that_two_readers_could_take_in_two_ways_end() {
    for (good, bad) in [
        ("", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ("", "\nHTTP/1.1 200 OK\r\n\r\n"),
        ("HTTP/1.1 200 OK", "\n\n"),
        ("HTTP/1.1 200 OK", "\nContent-Length: 0\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nA: b", "\nContent-Length: 0\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nA: b\r\n", "\n"),
        ("HTTP/1.1 200 OK\r\nBad Header: x\r\n\r", "\n"),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r", "\n"),
        ("220 smtp ready\r\n\r", "\n"),
        (INTERIM, "\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ] {
        assert!(ends_behind(good, bad), "{good:?} {bad:?}");
    }
    let interim = INTERIM.repeat(MAX_INTERIM_ANSWERS + 1);
    let (good, last) = interim.split_at(interim.len() - 1);
    assert!(ends_behind(good, last));
}

#[test]
fn lines_of_chunks_that_two_readers_could_take_in_two_ways_end() {
    for (good, bad) in [
        ("", "\r\n"),
        ("", " 5\r\n"),
        ("", "-5\r\n"),
        ("0", "x5\r\n"),
        ("5", " \r\nup 1\n\r\n"),
        ("5", "\t;a\r\nup 1\n\r\n"),
        ("5", "\nup 1\n\r\n"),
        ("5;a", " =b\r\nup 1\n\r\n"),
        ("5;", " a=b\r\nup 1\n\r\n"),
        ("5;a", "\nup 1\n\r\n"),
        ("5;a", "\u{f6}\r\n"),
        ("5\r", "up 1\n"),
        ("5\r\nup 1\n", "\n0\r\n\r\n"),
        ("5\r\nup 1\n", "more\r\n0\r\n\r\n"),
        ("5\r\nup 1\n\r", "0\r\n\r\n"),
        ("0000000000000000", "5\r\nup 1\n\r\n"),
        ("0\r\nX: y", "\n\r\n"),
        ("0\r\n", "\n"),
        ("0\r\nX: y\r", "Z\r\n\r\n"),
    ] {
        assert!(
            ends_behind(&format!("{HEAD}{good}"), bad),
            "{good:?} {bad:?}"
        );
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_in_headers() {
    let of = |value: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(value));
    let most = MAX_HEAD - of(0).len();
    assert!(is_good(&of(most)));
    let too_large = (MAX_HEAD, Some(io::ErrorKind::FileTooLarge));
    assert_eq!(followed(of(most + 1).as_bytes()), too_large);
    let mut strict = Strict::new(1000);
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}\r\n",
        "a:b\r\n".repeat(MAX_HEADERS + 1)
    );
    assert_eq!(strict.follow(many.as_bytes()), many.len() - 1);
    assert_eq!(
        strict.refused().unwrap().kind(),
        io::ErrorKind::FileTooLarge
    );
}

proptest! {
    #[test]
    fn an_answer_is_the_same_however_it_is_cut(
        parts in prop::collection::vec(prop::sample::select(&[
            "5", "0", "f", ";", " ", "\r\n", "\r\n", "\n", "\r", "up 1\n", "X: y", "5\r\nup 1\n\r\n",
        ][..]), 0..12),
    ) {
        followed(format!("{HEAD}{}", parts.concat()).as_bytes());
        followed(format!("{INTERIM}HTTP/1.1 200 OK\r\n{}", parts.concat()).as_bytes());
    }
}
