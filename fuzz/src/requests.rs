//! A second implementation of the request grammar: line by line, by comparing texts.

/// The methods that aegis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
}

/// A valid request.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub target: Target,
    /// The part of the target after the first `?`.
    pub query: Option<String>,
    /// Whether the scraper announces that it closes.
    pub closes: bool,
    /// Whether its timeout is so short that an answer is not guaranteed.
    pub hurries: bool,
}

/// The target of the request.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Service(String),
    View,
}

/// The next part of a connection's bytes, up to the first invalid request.
#[derive(Debug)]
pub enum Next<'a> {
    /// A head that aegis must accept.
    Good(Request),
    /// A head that aegis must refuse, and its bytes.
    Bad(&'a [u8]),
    /// Bytes that cannot begin a head; the kind of refusal depends on how they were split.
    Broken,
    /// Nothing, or a head that never ends.
    Over,
}

/// Splits off the next head.
pub fn next<'a>(bytes: &mut &'a [u8]) -> Next<'a> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let head = &bytes[..end.map_or(bytes.len(), |end| end + 4)];
    let is_bare = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
    if (0..head.len()).any(is_bare) || head.len() > MAX_HEAD_BYTES {
        return Next::Broken;
    }
    if end.is_none() {
        return Next::Over;
    }
    *bytes = &bytes[head.len()..];
    match parse_head(head) {
        Some(request) => Next::Good(request),
        None => Next::Bad(head),
    }
}

const MAX_HEAD_BYTES: usize = 16 * 1024;

fn parse_head(head: &[u8]) -> Option<Request> {
    // One empty line before a request is allowed (RFC 9112, section 2.2).
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let lines = head.strip_suffix(b"\r\n")?;
    let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
    let line = lines.next()?.strip_suffix(b"\r\n")?;
    let line = std::str::from_utf8(line).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return None;
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return None,
    };
    let (target, query) = parse_target(target)?;
    let mut headers = Vec::new();
    for line in lines {
        headers.push(header(line.strip_suffix(b"\r\n")?)?);
    }
    let all = |name: &str| -> Vec<&[u8]> {
        let named = headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| *value).collect()
    };
    let is_whole = headers.len() <= 64
        && matches!(all("host")[..], [host] if is_host(host))
        && all("transfer-encoding").is_empty()
        && all("expect").is_empty()
        && matches!(all("content-length")[..], [] | [b"0"])
        && is_passable(&all("accept"))
        && is_passable(&all("accept-encoding"));
    let hurries = match all("x-prometheus-scrape-timeout-seconds")[..] {
        [] => false,
        [seconds] => {
            let seconds: f64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
            if !(seconds.is_finite() && seconds > 0.0) {
                return None;
            }
            seconds < 5.0
        }
        _ => return None,
    };
    let closes = all("connection").iter().any(|value| {
        let value = String::from_utf8_lossy(value).to_lowercase();
        value
            .split(',')
            .any(|option| option.trim_matches([' ', '\t']) == "close")
    });
    is_whole.then_some(Request {
        method,
        target,
        query,
        closes,
        hurries,
    })
}

fn parse_target(target: &str) -> Option<(Target, Option<String>)> {
    if ["/", "/?refresh=off", "/-/sd", "/-/healthy", "/-/ready"].contains(&target) {
        return Some((Target::View, None));
    }
    // Bytes that cannot occur in a URI (RFC 3986).
    if target.contains('#') || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let (path, query) = match target.find('?') {
        Some(at) => (&target[..at], Some(target[at + 1..].to_owned())),
        None => (target, None),
    };
    if query
        .as_ref()
        .is_some_and(|query| !query.is_ascii() || query.contains(['"', '<', '>']))
    {
        return None;
    }
    let name = path.strip_prefix('/')?;
    is_name(name).then(|| (Target::Service(name.to_owned()), query))
}

/// A name or an address in brackets, and an optional port.
fn is_host(host: &[u8]) -> bool {
    const PLAIN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    // The last colon begins the port, unless it belongs to an address.
    let (name, port) = match host.rfind(':') {
        Some(at) if !host.ends_with(']') => (&host[..at], &host[at + 1..]),
        _ => (host, ""),
    };
    if !port.chars().all(|digit| "0123456789".contains(digit)) {
        return false;
    }
    if let Some(address) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        let is_hexadecimal =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_hexdigit());
        let is_fine = match letter {
            '%' => is_hexadecimal(letters.next()) && is_hexadecimal(letters.next()),
            letter => PLAIN.contains(letter),
        };
        if !is_fine {
            return false;
        }
    }
    !name.is_empty()
}

/// `[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}`
pub fn is_name(text: &str) -> bool {
    const FIRST: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    let mut letters = text.chars();
    let first = letters.next().is_some_and(|letter| FIRST.contains(letter));
    let mut count = 1;
    for letter in letters {
        count += 1;
        if !FIRST.contains(letter) && !".@-".contains(letter) {
            return false;
        }
    }
    first && count <= 64
}

fn header(line: &[u8]) -> Option<(String, &[u8])> {
    const TOKEN: &[u8] =
        b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|byte| TOKEN.contains(byte)) {
        return None;
    }
    if value
        .iter()
        .any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
    {
        return None;
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = value
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(value.len());
    let to = value
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(from, |at| at + 1);
    let name = String::from_utf8_lossy(name).to_lowercase();
    Some((name, &value[from..to]))
}

/// Whether aegis may pass these values to the service.
fn is_passable(values: &[&[u8]]) -> bool {
    let values: Vec<&&[u8]> = values.iter().filter(|value| !value.is_empty()).collect();
    let length: usize = values.iter().map(|value| value.len() + 2).sum();
    let is_printable = |value: &&&[u8]| value.iter().all(|byte| (b' '..=b'~').contains(byte));
    length <= 1024 + 2 && values.iter().all(is_printable)
}

/// The query that the service must get; `None` if a parameter is not in its list.
pub fn passed_on(query: &str, listed: &str) -> Option<String> {
    let is_digit = |at: usize| query.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    if query
        .match_indices('%')
        .any(|(at, _)| !(is_digit(at + 1) && is_digit(at + 2)))
    {
        return None;
    }
    let mut passed = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(value));
        // aegis does not convert a value that is not UTF-8: it refuses it.
        if name != listed || value.contains('\u{fffd}') {
            return None;
        }
        passed.push(format!("{}={}", encoded(&name), encoded(&value)));
    }
    (!passed.is_empty()).then(|| passed.join("&"))
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
