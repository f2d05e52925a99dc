use super::*;
use proptest::prelude::*;

fn routed(request: &str) -> Result<Asked, Refusal> {
    route(request.as_bytes(), &Limits::default()).map_err(|refused| refused.refusal)
}

fn get(target: &str, headers: &str) -> Result<Asked, Refusal> {
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
        let asked = get(&format!("/{name}"), "").unwrap();
        assert_eq!(asked.wanted, Wanted::Service(name.parse().unwrap()));
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
fn a_query_is_kept_apart_and_decides_nothing_here() {
    let asked = get("/node?collect[]=cpu", "").unwrap();
    assert_eq!(asked.wanted, Wanted::Service("node".parse().unwrap()));
    assert_eq!(asked.query.as_deref(), Some("collect[]=cpu"));
    assert_eq!(get("/node?", "").unwrap().query.as_deref(), Some(""));
    assert_eq!(get("/node", "").unwrap().query, None);
}

#[test]
fn what_aegis_says_of_itself_has_paths_that_no_service_has() {
    for view in View::ALL {
        let asked = get(view.path(), "").unwrap();
        assert_eq!(asked.wanted, Wanted::View(*view));
        assert!(
            view.path()
                .trim_start_matches('/')
                .parse::<ServiceName>()
                .is_err()
        );
    }
}

#[test]
fn the_operator_alone_can_have_something_done() {
    let of = |method: &str, target: &str| {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let by_operator = route_for_operator(head.as_bytes(), &Limits::default());
        let by_scraper = route(head.as_bytes(), &Limits::default());
        (
            by_operator
                .map(|asked| asked.wanted)
                .map_err(|no| no.refusal),
            by_scraper
                .map(|asked| asked.wanted)
                .map_err(|no| no.refusal),
        )
    };
    let node: ServiceName = "node".parse().unwrap();
    let seen = |wanted: Wanted| (Ok(WantedByOperator::Seen(wanted.clone())), Ok(wanted));
    let done = |wanted| (Ok(wanted), Err(Refusal::Method));
    let never = |refusal| (Err(refusal), Err(Refusal::Method));
    assert_eq!(of("GET", "/-/sd"), seen(Wanted::View(View::Discovery)));
    assert_eq!(of("GET", "/node"), seen(Wanted::Service(node.clone())));
    assert_eq!(of("POST", "/-/reload"), done(WantedByOperator::Reload));
    assert_eq!(
        of("POST", "/-/forget/node"),
        done(WantedByOperator::Forget(node))
    );
    assert_eq!(of("POST", "/-/forget/..%2f"), never(Refusal::Target));
    assert_eq!(of("POST", "/node"), never(Refusal::Method));
    assert_eq!(of("PUT", "/-/reload"), never(Refusal::Method));
    assert_eq!(
        of("GET", "/-/reload"),
        (Err(Refusal::Target), Err(Refusal::Target))
    );
}

#[test]
fn only_get_and_head_are_methods() {
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
    assert_eq!(head.answer, AnswerWith::HeadAlone);
}

#[test]
fn whatever_announces_a_body_is_refused() {
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
fn a_head_that_two_parsers_could_read_in_two_ways_is_refused() {
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
            matches!(refused, Refusal::Syntax | Refusal::Target | Refusal::Method),
            "{request:?} {refused:?}"
        );
    }
}

#[test]
fn a_line_without_a_method_is_no_target() {
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
        .map(|asked| asked.timeout.unwrap().as_secs_f64())
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
fn what_goes_on_to_the_service_is_bounded_and_printable() {
    let accept =
        |value: &str| get("/node", &format!("Accept: {value}\r\n")).map(|asked| asked.accept);
    assert_eq!(
        accept("text/plain;q=0.5"),
        Ok(Some("text/plain;q=0.5".to_owned()))
    );
    assert_eq!(accept("a\r\nAccept: b"), Ok(Some("a, b".to_owned())));
    assert_eq!(accept(""), Ok(None));
    assert!(accept(&"a".repeat(LONGEST_FORWARDED)).is_ok());
    assert_eq!(
        accept(&"a".repeat(LONGEST_FORWARDED + 1)),
        Err(Refusal::Header)
    );
    assert_eq!(accept("n\u{f6}"), Err(Refusal::Header));
    assert_eq!(accept("a\tb"), Err(Refusal::Header));
}

#[test]
fn the_scraper_says_when_it_closes() {
    let afterwards = |headers| get("/node", headers).unwrap().afterwards;
    assert_eq!(afterwards(""), Afterwards::KeepAlive);
    assert_eq!(
        afterwards("Connection: keep-alive\r\n"),
        Afterwards::KeepAlive
    );
    assert_eq!(afterwards("Connection: foo, CLOSE\r\n"), Afterwards::Close);
}

#[test]
fn a_query_passes_only_with_parameters_that_the_service_lists() {
    let mut service = Service::unnamed(&Limits::default());
    let ask = |service: &Service, query: Option<&str>| {
        target_for(service, query).map_err(|no| no.refusal)
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
    let hostile = ask(&service, Some("collect[]=a\r\nX:y HTTP/1.1")).unwrap();
    assert!(
        hostile.bytes().all(|byte| byte.is_ascii_graphic()),
        "{hostile}"
    );
}

proptest! {
    #[test]
    fn a_target_passes_only_if_it_is_a_slash_and_a_name(target in "[!-~]{1,40}") {
        let (path, _) = target.split_once('?').unwrap_or((&target, ""));
        let name = path.strip_prefix('/').filter(|_| !target.contains('#'));
        let name = name.and_then(|name| name.parse::<ServiceName>().ok());
        let wanted = View::at(&target).map(Wanted::View).or(name.map(Wanted::Service));
        let routed = get(&target, "").ok().map(|asked| asked.wanted);
        prop_assert_eq!(routed, wanted);
    }

    #[test]
    fn a_query_goes_on_with_the_same_parameters_and_no_others(
        pairs in prop::collection::vec(("(collect|x)(\\[\\])?", "\\PC{0,8}"), 1..4),
    ) {
        let mut service = Service::unnamed(&Limits::default());
        service.params = vec!["collect[]".to_owned()];
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(&pairs).finish();
        match target_for(&service, Some(&query)) {
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
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        drop(route(&bytes, &Limits::default()));
    }

    #[test]
    fn no_header_makes_it_panic(line in "[ -~]{0,60}") {
        drop(get("/node", &format!("{line}\r\n")));
    }
}
