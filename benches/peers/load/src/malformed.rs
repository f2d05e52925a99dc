//! Malformed requests, and whether aegis may answer one.

/// A small generator (splitmix64), so that a run can be repeated by its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

pub(crate) struct Shape;

impl Shape {
    /// A valid request with one to three faults: in its line, its headers or any of its bytes.
    pub(crate) fn mutated(path: &str, random: &mut Random) -> Vec<u8> {
        let name = path.trim_start_matches('/');
        let mut method = "GET".to_owned();
        let mut target = path.to_owned();
        let mut version = "HTTP/1.1".to_owned();
        let mut headers = vec!["Host: localhost".to_owned()];
        let mut body = Vec::new();
        let mut ends = "\r\n";
        for _ in 0..=random.below(3) {
            match random.below(8) {
                0 => method = random.of(METHODS).to_owned(),
                1 | 2 => target = random.of(TARGETS).replace("{}", name),
                3 => version = random.of(VERSIONS).to_owned(),
                4 | 5 => headers.push(random.of(HEADERS).to_owned()),
                6 => {
                    body = format!("0\r\n\r\nGET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
                    headers.push(random.of(BODIES).to_owned());
                }
                _ => ends = random.of(&["\r\n", "\n", "\r", "\r\n\r", "\n\r"]),
            }
        }
        let mut lines = vec![format!("{method} {target} {version}")];
        lines.append(&mut headers);
        let mut request = (lines.join(ends) + ends + ends).into_bytes();
        request.extend(body);
        if random.below(2) == 0 {
            for _ in 0..=random.below(4) {
                scratch(&mut request, random);
            }
        }
        request
    }
}

fn scratch(request: &mut Vec<u8>, random: &mut Random) {
    // Mostly in the line.
    let bound = if random.below(3) == 0 {
        request.len()
    } else {
        request.len().min(40)
    };
    let at = random
        .below(bound.max(1))
        .min(request.len().saturating_sub(1));
    match random.below(5) {
        0 => request[at] ^= 1 << random.below(8),
        1 => request[at] = random.byte(),
        2 => request.insert(at, random.byte()),
        3 => {
            request.remove(at);
        }
        _ => {
            let many = random.below(200) + 1;
            let byte = random.byte();
            request.splice(at..at, std::iter::repeat_n(byte, many));
        }
    }
    if request.is_empty() {
        request.push(b' ');
    }
}

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "GETS", "",
    "G\0T", "PRI",
];
const TARGETS: &[&str] = &[
    "//{}",
    "/./{}",
    "/../{}",
    "/%2e%2e/{}",
    "/{}/",
    "/{}%00",
    "/{}?",
    "/{}?x=1",
    "/{}#",
    "/{};x",
    "{}",
    "*",
    "",
    "http://localhost/{}",
    "https://elsewhere.invalid/{}",
    "localhost:443",
    "/{}.sock",
    "/../outside/canary",
    "/..%2foutside%2fcanary",
    "/canary-link",
    "/canary-hard",
    "/.canary",
    "/outside/canary",
    "/%63anary-link",
    "/canary-link/",
    "/\u{ff4c}{}",
    "/{}\0",
    "/{}\t",
    "\\{}",
    "/{}\\",
    "/.",
    "/..",
    "/...",
    "/-/",
    "/-/reload",
    "/-/forget/{}",
    "/metrics/",
    "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "/no-such",
    "/{}@",
    "/@{}",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/2",
    "http/1.1",
    "HTTP/1.1 ",
    " HTTP/1.1",
    "HTTP/1.10",
    "",
    "HTTP/1.1\t",
];
const HEADERS: &[&str] = &[
    "Host: other",
    "X: \0",
    "X : 1",
    " X: 1",
    "X",
    ": x",
    "X: 1\r\n 2",
    "X: 1\rY: 2",
    "X: 1\nY: 2",
    "\u{7f}: x",
    "X: \u{ff}",
    "Connection: close",
    "Accept: \u{1}",
    "X-Prometheus-Scrape-Timeout-Seconds: -1",
    "X-Prometheus-Scrape-Timeout-Seconds: nan",
    "X-Prometheus-Scrape-Timeout-Seconds: 1e999",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Proxy: x",
    "Content-Length: 0",
];
const BODIES: &[&str] = &[
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Content-Length: 0\r\nContent-Length: 5",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding : chunked",
    "X: 1\r\n Transfer-Encoding: chunked",
    "Transfer-Encoding: xchunked",
];

/// Whether the first answer may be 2xx: the bytes begin with a request that must be understood.
pub(crate) fn is_request(mut bytes: &[u8]) -> bool {
    matches!(requests::next(&mut bytes), requests::Next::Good(_))
}

/// The fuzz targets' implementation of the grammar, independent of that of aegis.
#[path = "../../../../fuzz/src/requests.rs"]
#[expect(dead_code, reason = "the fuzz targets use the rest")]
mod requests;
