use super::*;
use crate::http::{BodyPolicy, MAX_FORWARDED_BYTES, Persistence, Refresh};
use proptest::prelude::*;

fn routed(request: &str) -> Result<Request<Target>, Refusal> {
    route(request.as_bytes(), &Limits::default()).map_err(|refused| refused.refusal)
}

fn get(target: &str, headers: &str) -> Result<Request<Target>, Refusal> {
    routed(&format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"
    ))
}

#[test]
fn only_one_plain_segment_is_a_target() {
    const REFUSED: &[&str] = &[
        "//node",
        "/node/",
        "/a/b",
        "/./node",
        "/../node",
        "/..",
        "/.",
        "/.hidden",
        "/%6eode",
        "/node%2f..",
        "/%2e%2e",
        "/node%00",
        "/node;x",
        "/node#x",
        "/node?a=1#x",
        "/no\\de",
        "/-x",
        "node",
        "*",
        "http://host/node",
        "https://host/node",
        "//host/node",
        "/-/",
        "/-/healthy/",
        "/-/sd?",
        "/-/sd?a=b",
        "/?",
        "/-/reload",
        "/-/forget/node",
        "/n\u{f6}de",
        "/\u{2025}",
        "/node:80",
        "/node,",
        "/~node",
        "/node+",
        "/@node",
    ];
    for target in REFUSED {
        assert_eq!(get(target, "").unwrap_err(), Refusal::Target, "{target}");
    }
    for name in ["node", "_x", "getty@tty1.service", "a..b"] {
        let request = get(&format!("/{name}"), "").unwrap();
        assert_eq!(request.target, Target::Service(name.parse().unwrap()));
    }
    for (byte, expected) in [
        (0u8, Refusal::Target),
        (7, Refusal::Target),
        (0x7f, Refusal::Target),
        (b' ', Refusal::Syntax),
    ] {
        let byte = char::from(byte);
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /no{byte}de HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(routed(&request).unwrap_err(), expected, "{request:?}");
        }
    }
}

#[test]
fn a_view_takes_only_the_exact_query_that_stops_refreshing() {
    let request = get("/?refresh=off", "").unwrap();
    assert_eq!(request.target, Target::View(View::Status(Refresh::Off)));
    for target in [
        "/?refresh",
        "/?refresh=",
        "/?refresh=on",
        "/?refresh=off&",
        "/?refresh=off#x",
        "/?refresh=off&refresh=off",
        "/?refresh=OFF",
        "/?refresh=%6fff",
        "/?REFRESH=off",
        "/?&refresh=off",
        "//?refresh=off",
        "/-/sd?refresh=off",
        "/-/ready?refresh=off",
    ] {
        assert_eq!(get(target, "").unwrap_err(), Refusal::Target, "{target}");
    }
}

#[test]
fn a_query_is_split_from_the_target() {
    let request = get("/node?collect[]=cpu", "").unwrap();
    assert_eq!(request.target, Target::Service("node".parse().unwrap()));
    assert_eq!(request.query.as_deref(), Some("collect[]=cpu"));
    assert_eq!(get("/node?", "").unwrap().query.as_deref(), Some(""));
    assert_eq!(get("/node", "").unwrap().query, None);
}

#[test]
fn a_query_has_only_characters_that_every_server_accepts() {
    for query in ["x=:@!$&'()*+,;=/?-._~%41", "x[]={1}|\\^`"] {
        let request = get(&format!("/node?{query}"), "").unwrap();
        assert_eq!(request.query.as_deref(), Some(query));
    }
    for query in ["x=\"1\"", "x=<", "x=>", "x=\u{f6}", "x=\u{80}"] {
        let refused = get(&format!("/node?{query}"), "").unwrap_err();
        assert_eq!(refused, Refusal::Query, "{query}");
    }
}

#[test]
fn view_paths_are_not_service_names() {
    for view in View::ALL {
        let request = get(view.target(), "").unwrap();
        assert_eq!(request.target, Target::View(*view));
        // A view never sees a query.
        assert_eq!(request.query, None);
        assert!(
            view.path()
                .trim_start_matches('/')
                .parse::<ServiceName>()
                .is_err()
        );
    }
}

#[test]
fn only_get_and_head_are_accepted() {
    for method in [
        "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "GETX",
    ] {
        let request = format!("{method} /node HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(routed(&request).unwrap_err(), Refusal::Method, "{method}");
    }
    assert_eq!(
        routed("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err(),
        Refusal::Method
    );
    let head = routed("HEAD /node HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(head.reply.body, BodyPolicy::Omit);
}

#[test]
fn requests_that_announce_a_body_are_refused() {
    const REFUSED: &[&str] = &[
        "Content-Length: 1\r\n",
        "Content-Length: 00\r\n",
        "Content-Length: +0\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Content-Length: 0, 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
    ];
    for headers in REFUSED {
        assert_eq!(
            get("/node", headers).unwrap_err(),
            Refusal::Body,
            "{headers:?}"
        );
    }
    assert!(get("/node", "Content-Length: 0\r\n").is_ok());
}

#[test]
fn ambiguous_request_heads_are_refused() {
    const REFUSED: &[&str] = &[
        "GET /node HTTP/1.1\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: http://a/\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: \r\n\r\n",
        "GET /node HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /node HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /node\r\nHost: a\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\nA: b\rC: d\r\n\r\n",
        "GET /node HTTP/1.1\r\nHost: a\r\n\r\nGET /",
        "PRI * HTTP/2.0\r\n\r\n",
        "\r\n\r\n",
    ];
    for request in REFUSED {
        let refused = routed(request).unwrap_err();
        assert!(
            matches!(
                refused,
                Refusal::Syntax | Refusal::Version | Refusal::Target | Refusal::Method
            ),
            "{request:?} {refused:?}"
        );
    }
}

#[test]
fn a_line_without_a_known_method_is_a_syntax_error() {
    let no_method = "(ET /node HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(routed(no_method).unwrap_err(), Refusal::Syntax);
}

#[test]
fn the_timeout_is_a_positive_number_and_clamped() {
    let timeout = |value: &str| {
        get(
            "/node",
            &format!("X-Prometheus-Scrape-Timeout-Seconds: {value}\r\n"),
        )
        .map(|request| request.timeout.unwrap().as_secs_f64())
    };
    assert_eq!(timeout("10"), Ok(10.0));
    assert_eq!(timeout("0.5"), Ok(0.5));
    assert_eq!(timeout("1e9"), Ok(300.0));
    for value in [
        "0",
        "-1",
        "NaN",
        "inf",
        "",
        "10s",
        "1,5",
        "1\r\nX-Prometheus-Scrape-Timeout-Seconds: 2",
    ] {
        assert_eq!(timeout(value), Err(Refusal::Header), "{value:?}");
    }
    assert_eq!(get("/node", "").unwrap().timeout, None);
}

#[test]
fn forwarded_headers_are_bounded_and_printable() {
    let accept =
        |value: &str| get("/node", &format!("Accept: {value}\r\n")).map(|request| request.accept);
    assert_eq!(
        accept("text/plain;q=0.5"),
        Ok(Some("text/plain;q=0.5".to_owned()))
    );
    assert_eq!(accept("a\r\nAccept: b"), Ok(Some("a, b".to_owned())));
    assert_eq!(accept(""), Ok(None));
    assert!(accept(&"a".repeat(MAX_FORWARDED_BYTES)).is_ok());
    assert_eq!(
        accept(&"a".repeat(MAX_FORWARDED_BYTES + 1)),
        Err(Refusal::Header)
    );
    assert_eq!(accept("n\u{f6}"), Err(Refusal::Header));
    assert_eq!(accept("a\tb"), Err(Refusal::Header));
}

#[test]
fn connection_close_ends_the_connection() {
    let persistence = |headers| get("/node", headers).unwrap().reply.persistence;
    assert_eq!(persistence(""), Persistence::KeepAlive);
    assert_eq!(
        persistence("Connection: keep-alive\r\n"),
        Persistence::KeepAlive
    );
    assert_eq!(
        persistence("Connection: foo, CLOSE\r\n"),
        Persistence::Close
    );
}

#[test]
fn queries_with_unlisted_parameters_are_refused() {
    let mut service = ServiceSettings::defaults(&Limits::default());
    let ask = |service: &ServiceSettings, query: Option<&str>| {
        service_target(service, query).map_err(|no| no.refusal)
    };
    assert_eq!(ask(&service, None), Ok("/metrics".to_owned()));
    assert_eq!(ask(&service, Some("a=1")), Err(Refusal::Query));
    assert_eq!(ask(&service, Some("")), Err(Refusal::Query));
    service.params = vec!["collect[]".to_owned()];
    let written = Ok("/metrics?collect%5B%5D=cpu&collect%5B%5D=a+b".to_owned());
    assert_eq!(
        ask(&service, Some("collect[]=cpu&collect%5B%5D=a%20b")),
        written
    );
    for query in [
        "",
        "&",
        "collect=cpu",
        "collect[]=cpu&x=1",
        "x",
        "Collect[]=cpu",
    ] {
        assert_eq!(ask(&service, Some(query)), Err(Refusal::Query), "{query:?}");
    }
    for value in [
        "%FF",
        "a%C3",
        "%C0%AF",
        "%ED%A0%80",
        "a&collect[]=%80",
        "%zz",
        "%",
        "a%C",
        "%%41",
        "%\u{f6}",
    ] {
        let query = format!("collect[]={value}");
        assert_eq!(ask(&service, Some(&query)), Err(Refusal::Query), "{query}");
    }
    let written = Ok("/metrics?collect%5B%5D=%C3%B6%25".to_owned());
    assert_eq!(ask(&service, Some("collect[]=%c3%B6%25")), written);
    service.path = "/status?openmetrics".to_owned();
    assert_eq!(ask(&service, None), Ok("/status?openmetrics".to_owned()));
    let written = Ok("/status?openmetrics&collect%5B%5D=cpu".to_owned());
    assert_eq!(ask(&service, Some("collect[]=cpu")), written);
    assert_eq!(ask(&service, Some("openmetrics=no")), Err(Refusal::Query));
    let hostile = ask(&service, Some("collect[]=a\r\nX:y HTTP/1.1")).unwrap();
    assert!(
        hostile.bytes().all(|byte| byte.is_ascii_graphic()),
        "{hostile}"
    );
}

proptest! {
    #[test]
    fn a_target_is_a_slash_and_a_service_name(target in "[!-~]{1,40}") {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let is_plain = !target.contains('#') && !query.contains(['"', '<', '>']);
        let name = path.strip_prefix('/').filter(|_| is_plain);
        let name = name.and_then(|name| name.parse::<ServiceName>().ok());
        let wanted = View::at(&target).map(Target::View).or(name.map(Target::Service));
        let routed = get(&target, "").ok().map(|request| request.target);
        prop_assert_eq!(routed, wanted);
    }

    #[test]
    fn a_forwarded_query_has_the_same_parameters(
        pairs in prop::collection::vec(("(collect|x)(\\[\\])?", "\\PC{0,8}"), 1..4),
    ) {
        let mut service = ServiceSettings::defaults(&Limits::default());
        service.params = vec!["collect[]".to_owned()];
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(&pairs).finish();
        match service_target(&service, Some(&query)) {
            Ok(target) => {
                prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
                let passed = target.strip_prefix("/metrics?").unwrap();
                let passed: Vec<_> = form_urlencoded::parse(passed.as_bytes()).into_owned().collect();
                prop_assert_eq!(passed, pairs);
            }
            Err(refused) => {
                prop_assert_eq!(refused.refusal, Refusal::Query);
                prop_assert!(pairs.iter().any(|(name, value)| name != "collect[]" || value.contains(char::REPLACEMENT_CHARACTER)));
            }
        }
    }

    #[test]
    fn parsing_any_bytes_does_not_panic(bytes: Vec<u8>) {
        drop(route(&bytes, &Limits::default()));
    }

    #[test]
    fn parsing_any_header_does_not_panic(line in "[ -~]{0,60}") {
        drop(get("/node", &format!("{line}\r\n")));
    }
}
