use proptest::prelude::*;

use super::*;

/// How many of these bytes are valid, and the error after them. Checks that splits do not matter.
fn checked(bytes: &[u8]) -> (usize, Option<io::ErrorKind>) {
    let of = |piece: usize| {
        let mut parser = StrictParser::new(MAX_HEAD);
        let mut valid = 0;
        for piece in bytes.chunks(piece) {
            valid += parser.feed(piece);
            if let Some(refused) = parser.refused() {
                return (valid, Some(refused.kind()));
            }
        }
        (valid, None)
    };
    let unsplit = of(bytes.len());
    for piece in [1, 2, 7] {
        assert_eq!(of(piece), unsplit, "{}", bytes.escape_ascii());
    }
    unsplit
}

const MAX_HEAD: usize = 200;
const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";

fn is_valid(bytes: &str) -> bool {
    checked(bytes.as_bytes()) == (bytes.len(), None)
}

/// Whether exactly the first bytes are valid, and the next one is malformed.
fn fails_after(good: &str, bad: &str) -> bool {
    let all = [good, bad].concat();
    checked(all.as_bytes()) == (good.len(), Some(io::ErrorKind::InvalidData))
}

#[test]
fn well_formed_answers_pass_unchanged() {
    for chunks in [
        "0\r\n\r\n",
        "5\r\nup 1\n\r\n0\r\n\r\n",
        "3;ext=1\r\nup \r\n2\r\n1\n\r\n0\r\nX: y\r\nZ:\r\n\r\n",
        "5;a;b=\"c\"\r\n\r\n\r\n\n\r\n0;d\r\n\r\n",
        "0000000000000005\r\nup 1\n\r\n000\r\n\r\n",
        "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\nwhat follows \n is not read",
    ] {
        assert!(is_valid(&format!("{HEAD}{chunks}")), "{chunks:?}");
    }
    assert!(is_valid("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\n\n"));
    assert!(is_valid("HTTP/1.0 500 Oops\r\n\r\n \n\r"));
    assert!(is_valid("HTTP/1.1 101 Switching Protocols\r\n\r\n\n"));
    assert!(is_valid(&INTERIM.repeat(MAX_INTERIM_ANSWERS)));
}

#[test]
fn ambiguous_answer_heads_are_malformed() {
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
        assert!(fails_after(good, bad), "{good:?} {bad:?}");
    }
    let interim = INTERIM.repeat(MAX_INTERIM_ANSWERS + 1);
    let (good, last) = interim.split_at(interim.len() - 1);
    assert!(fails_after(good, last));
}

#[test]
fn ambiguous_chunk_lines_are_malformed() {
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
            fails_after(&format!("{HEAD}{good}"), bad),
            "{good:?} {bad:?}"
        );
    }
}

#[test]
fn answer_heads_are_bounded_in_bytes_and_headers() {
    let of = |value: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(value));
    let max = MAX_HEAD - of(0).len();
    assert!(is_valid(&of(max)));
    let too_large = (MAX_HEAD, Some(io::ErrorKind::FileTooLarge));
    assert_eq!(checked(of(max + 1).as_bytes()), too_large);
    let mut parser = StrictParser::new(1000);
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}\r\n",
        "a:b\r\n".repeat(MAX_HEADERS + 1)
    );
    assert_eq!(parser.feed(many.as_bytes()), many.len() - 1);
    assert_eq!(
        parser.refused().unwrap().kind(),
        io::ErrorKind::FileTooLarge
    );
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_how_an_answer_is_split(
        parts in prop::collection::vec(prop::sample::select(&[
            "5", "0", "f", ";", " ", "\r\n", "\r\n", "\n", "\r", "up 1\n", "X: y", "5\r\nup 1\n\r\n",
        ][..]), 0..12),
    ) {
        checked(format!("{HEAD}{}", parts.concat()).as_bytes());
        checked(format!("{INTERIM}HTTP/1.1 200 OK\r\n{}", parts.concat()).as_bytes());
    }
}
