//! Requests of real scrapers, with random changes.

use crate::random::Random;
use crate::tables::*;

/// The bytes of one connection.
pub struct Case {
    pub number: usize,
    /// Which parts were changed; none in a valid case.
    pub changes: Vec<&'static str>,
    /// How many requests are in a valid case.
    pub requests: usize,
    pub bytes: Vec<u8>,
}

struct Head {
    before: Vec<u8>,
    /// Method, target and version.
    words: [Vec<u8>; 3],
    line_end: Vec<u8>,
    /// Whole lines, with their ends.
    lines: Vec<Vec<u8>>,
    end: Vec<u8>,
    body: Vec<u8>,
}

pub fn case(number: usize, seed: u64) -> Case {
    let mut random = Random::new(seed, number as u64);
    let mut heads: Vec<Head> = (0..=random.weighted(&[70, 25, 5]))
        .map(|_| Head::parse(random.pick(SCRAPERS)))
        .collect();
    let mut changes = Vec::new();
    for _ in 0..random.weighted(&[4, 50, 28, 12, 6]) {
        let place = if random.one_in(4) {
            random.below(heads.len())
        } else {
            0
        };
        let weights: Vec<usize> = CHANGES.iter().map(|(_, weight, _)| *weight).collect();
        let (name, _, change) = CHANGES[random.weighted(&weights)];
        change(&mut heads[place], &mut random);
        changes.push(name);
    }
    let mut requests = heads.len();
    let mut bytes: Vec<u8> = heads.iter().flat_map(Head::bytes).collect();
    if random.one_in(8) {
        for _ in 0..=random.below(3) {
            change_a_byte(&mut bytes, &mut random);
        }
        changes.push("bytes anywhere");
    }
    // Mostly one more request, which a wrong idea of a body swallows or splits.
    if !random.one_in(4) {
        bytes.extend_from_slice(LAST);
        requests += 1;
    }
    Case {
        number,
        changes,
        requests,
        bytes,
    }
}

impl Head {
    fn parse(text: &str) -> Self {
        let (line, lines) = text.split_once("\r\n").unwrap();
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
        Self {
            before: Vec::new(),
            words: words.try_into().unwrap(),
            line_end: b"\r\n".to_vec(),
            lines: lines
                .split_inclusive("\r\n")
                .map(|line| line.into())
                .collect(),
            end: b"\r\n".to_vec(),
            body: Vec::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let line = self.words.join(&b' ');
        let lines = self.lines.concat();
        let parts = [
            &self.before,
            &line,
            &self.line_end,
            &lines,
            &self.end,
            &self.body,
        ];
        parts.map(Vec::as_slice).concat()
    }

    /// Adds a line at a random place.
    fn add(&mut self, line: Vec<u8>, random: &mut Random) {
        let place = random.below(self.lines.len() + 1);
        self.lines.insert(place, line);
    }

    fn replace_host(&mut self, line: Vec<u8>) {
        let host = self
            .lines
            .iter()
            .position(|line| line.starts_with(b"Host:"));
        match host {
            Some(place) => self.lines[place] = line,
            None => self.lines.push(line),
        }
    }
}

type Change = fn(&mut Head, &mut Random);

/// The name of a change, and how often it is made in proportion.
const CHANGES: &[(&str, usize, Change)] = &[
    ("method", 6, |head, random| {
        head.words[0] = random.pick(METHODS).into();
    }),
    ("target", 14, |head, random| {
        head.words[1] = random.pick(TARGETS).into();
    }),
    ("version", 6, |head, random| {
        head.words[2] = random.pick(VERSIONS).into();
    }),
    ("separator", 3, |head, random| {
        let separator = random.pick(&[
            &b"  "[..],
            b"\t",
            b"",
            b" \t",
            b"\0",
            b"\x0b",
            b"\r",
            b"\r\n",
        ]);
        let words = [head.words[0].as_slice(), &head.words[1]];
        let [first, second] = words;
        // In front of the target, or behind it.
        let line = match random.one_in(2) {
            true => [first, separator, second, b" ", &head.words[2]].concat(),
            false => [first, b" ", second, separator, &head.words[2]].concat(),
        };
        let mut parts = line.splitn(3, |byte| *byte == b' ').map(<[u8]>::to_vec);
        head.words = std::array::from_fn(|_| parts.next().unwrap_or_default());
    }),
    ("line end", 8, |head, random| {
        let end = random.pick(LINE_ENDS);
        match head.lines.is_empty() || random.one_in(4) {
            true => head.line_end = end.into(),
            false => {
                let place = random.below(head.lines.len());
                let line = &mut head.lines[place];
                line.truncate(line.len().saturating_sub(2));
                line.extend_from_slice(end);
            }
        }
    }),
    ("before", 5, |head, random| {
        head.before = random.pick(BEFORE).into();
    }),
    ("end of head", 4, |head, random| {
        head.end = random.pick(ENDS).into();
    }),
    ("header name", 8, |head, random| {
        head.add([random.pick(NAMES), b"a\r\n"].concat(), random);
    }),
    ("header value", 10, |head, random| {
        let (name, value) = (random.pick(KNOWN), random.pick(VALUES));
        head.add([name, b": ", value, b"\r\n"].concat(), random);
    }),
    ("header twice", 3, |head, random| {
        let name = random.pick(KNOWN);
        for value in [&b"a"[..], b"b"] {
            head.add([name, b": ", value, b"\r\n"].concat(), random);
        }
    }),
    ("timeout", 3, |head, random| {
        let value = random.pick(TIMEOUTS);
        head.lines
            .retain(|line| !line.starts_with(b"X-Prometheus-Scrape-Timeout"));
        let name = b"X-Prometheus-Scrape-Timeout-Seconds: ";
        head.add([name, value, b"\r\n"].concat(), random);
    }),
    ("host", 9, |head, random| {
        head.replace_host([&b"Host: "[..], random.pick(HOSTS), b"\r\n"].concat());
    }),
    ("host line", 5, |head, random| {
        head.replace_host(random.pick(HOST_LINES).into());
    }),
    ("length", 9, |head, random| {
        let (name, value) = (random.pick(LENGTH_NAMES), random.pick(LENGTHS));
        head.add([name, value, b"\r\n"].concat(), random);
        maybe_body(head, random);
    }),
    ("coding", 11, |head, random| {
        let (name, value) = (random.pick(CODING_NAMES), random.pick(CODINGS));
        head.add([name, value, b"\r\n"].concat(), random);
        maybe_body(head, random);
    }),
    ("coding and length", 5, |head, random| {
        let coding = [random.pick(CODING_NAMES), random.pick(CODINGS), b"\r\n"];
        let length = [random.pick(LENGTH_NAMES), random.pick(LENGTHS), b"\r\n"];
        head.add(coding.concat(), random);
        head.add(length.concat(), random);
        maybe_body(head, random);
    }),
    ("body", 3, |head, random| {
        head.body = random.pick(BODIES).into();
    }),
    ("connection", 6, |head, random| {
        head.add(
            [&b"Connection: "[..], random.pick(CONNECTIONS), b"\r\n"].concat(),
            random,
        );
    }),
    ("upgrade or expect", 5, |head, random| {
        head.add(random.pick(UPGRADES).into(), random);
    }),
    ("size of a part", 3, size_of_a_part),
    ("size of the head", 2, |head, random| {
        let size = random.pick(HEAD_SIZES);
        let missing = size.saturating_sub(head.bytes().len() + b"X-Pad: \r\n".len());
        let pad = vec![b'x'; missing];
        head.lines.push([b"X-Pad: ", &pad[..], b"\r\n"].concat());
    }),
    ("many headers", 2, |head, random| {
        let count = random.pick(COUNTS);
        while head.lines.len() < count {
            head.lines
                .push(format!("X-{}: a\r\n", head.lines.len()).into_bytes());
        }
    }),
    ("line twice", 3, |head, random| {
        if !head.lines.is_empty() {
            let line = head.lines[random.below(head.lines.len())].clone();
            head.add(line, random);
        }
    }),
    ("order of lines", 1, |head, random| {
        if !head.lines.is_empty() {
            let by = random.below(head.lines.len());
            head.lines.rotate_left(by);
        }
    }),
    ("bytes of a line", 10, |head, random| {
        match random.below(6) {
            place @ 0..3 => change_a_byte(&mut head.words[place], random),
            _ if head.lines.is_empty() => change_a_byte(&mut head.end, random),
            _ => {
                let place = random.below(head.lines.len());
                change_a_byte(&mut head.lines[place], random);
            }
        }
    }),
];

fn maybe_body(head: &mut Head, random: &mut Random) {
    if !random.one_in(3) {
        head.body = random.pick(BODIES).into();
    }
}

fn size_of_a_part(head: &mut Head, random: &mut Random) {
    let long = vec![b'a'; random.pick(SIZES)];
    match random.below(7) {
        0 => head.words[0] = long,
        1 => head.words[1] = [b"/", &long[..]].concat(),
        2 => head.words[1] = [b"/node?x=", &long[..]].concat(),
        3 => head.replace_host([b"Host: ", &long[..], b"\r\n"].concat()),
        4 => head.add([&long[..], b": a\r\n"].concat(), random),
        5 => head.add(
            [b"X:", &vec![b' '; long.len()][..], b"a\r\n"].concat(),
            random,
        ),
        _ => head.add([b"X: ", &long[..], b"\r\n"].concat(), random),
    }
}

/// Inserts, replaces or deletes one byte.
fn change_a_byte(bytes: &mut Vec<u8>, random: &mut Random) {
    let new = match random.one_in(4) {
        true => random.below(256) as u8,
        false => random.pick(SPECIAL),
    };
    let place = random.below(bytes.len() + 1);
    match random.below(3) {
        0 if place < bytes.len() => bytes[place] = new,
        1 if place < bytes.len() => drop(bytes.remove(place)),
        _ => bytes.insert(place, new),
    }
}

/// Ends the connection of each server that reads it as a request.
pub const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What Prometheus 3 and 2, its discovery, vmagent, Grafana Alloy, curl and Python send.
const SCRAPERS: &[&str] = &[
    "GET /node HTTP/1.1\r\nHost: 192.0.2.7:31337\r\nUser-Agent: Prometheus/3.5.0\r\n\
     Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\n\
     Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n",
    "GET /node HTTP/1.1\r\nHost: web-1.example.org:31337\r\nUser-Agent: Prometheus/2.42.0\r\n\
     Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n\
     Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n",
    "GET /-/sd HTTP/1.1\r\nHost: web-1:31337\r\nUser-Agent: Prometheus/2.42.0\r\nAccept: application/json\r\n\
     X-Prometheus-Refresh-Interval-Seconds: 60.000000\r\nAccept-Encoding: gzip\r\n",
    "GET /node HTTP/1.1\r\nHost: [2001:db8::7]:31337\r\nUser-Agent: vm_promscrape\r\n\
     Accept: text/plain;version=0.0.4;q=1,*/*;q=0.1\r\nX-Prometheus-Scrape-Timeout-Seconds: 10.000\r\nAccept-Encoding: gzip\r\n",
    "GET /node HTTP/1.1\r\nHost: web-1:31337\r\nUser-Agent: Alloy/v1.10.0 (linux; deb)\r\nAccept: text/plain\r\n\
     Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n",
    "GET /-/healthy HTTP/1.1\r\nHost: localhost:31337\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n",
    "HEAD /node HTTP/1.1\r\nHost: localhost:31337\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n",
    "GET /node?x=1 HTTP/1.1\r\nHost: web-1:31337\r\nUser-Agent: python-requests/2.28.1\r\n\
     Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n",
];
