//! Requests that are not quite a scrape, and what exactly one is.

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
    /// A good request with one to three faults: in its line, its headers, or any of its bytes.
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

/// Whether every request in these bytes up to the first answer's may be served: exactly
/// `GET` or `HEAD`, a path of one name, `HTTP/1.1`, one Host, no body, whole lines. Written
/// apart from aegis's own reading, by the RFC's grammar.
pub(crate) fn is_exact(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    // RFC 9112, section 2.2: empty lines before a request line may be passed over.
    let mut head = &request[..end];
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    let lines: Vec<&[u8]> = split_crlf(head);
    let Some((first, headers)) = lines.split_first() else {
        return false;
    };
    if lines
        .iter()
        .any(|line| line.contains(&b'\n') || line.contains(&b'\r') || line.contains(&0))
    {
        return false;
    }
    let target = [b"GET ".as_slice(), b"HEAD "]
        .iter()
        .find_map(|method| first.strip_prefix(*method))
        .and_then(|rest| rest.strip_suffix(b" HTTP/1.1"));
    let Some(target) = target else { return false };
    if !is_path(target) {
        return false;
    }
    let mut hosts = 0;
    for line in headers {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let name = line[..colon].to_ascii_lowercase();
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_graphic()) {
            return false;
        }
        match name.as_slice() {
            b"host" => hosts += 1,
            b"transfer-encoding" | b"expect" => return false,
            b"content-length" if line[colon + 1..].trim_ascii() != b"0" => return false,
            _ => {}
        }
    }
    hosts == 1
}

/// What aegis says of itself, or one name.
fn is_path(target: &[u8]) -> bool {
    if [b"/".as_slice(), b"/-/sd", b"/-/healthy", b"/-/ready"].contains(&target) {
        return true;
    }
    let Some((first, rest)) = target.strip_prefix(b"/").and_then(<[u8]>::split_first) else {
        return false;
    };
    let starts = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    starts(first)
        && rest.len() < 64
        && rest
            .iter()
            .all(|byte| starts(byte) || b".@-".contains(byte))
}

fn split_crlf(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while at + 1 < head.len() {
        if &head[at..at + 2] == b"\r\n" {
            lines.push(&head[from..at]);
            from = at + 2;
            at += 1;
        }
        at += 1;
    }
    lines.push(&head[from..]);
    lines
}
