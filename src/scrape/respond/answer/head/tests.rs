use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;

fn with(name: &HeaderName, values: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    headers
}

proptest! {
    #[test]
    fn header_values_are_single_printable_and_bounded(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..3),
        long in 0usize..600,
    ) {
        let mut headers = with(&CONTENT_TYPE, &values);
        let one = single(&headers, &CONTENT_TYPE);
        match (headers.len(), one) {
            (0, one) => prop_assert_eq!(one.unwrap(), None),
            (1, Ok(None)) => prop_assert!(headers[CONTENT_TYPE].is_empty()),
            (1, Ok(Some(text))) => prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~'))),
            (count, one) => {
                let value = headers.get(CONTENT_TYPE).unwrap().as_bytes();
                let is_printable = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
                prop_assert_eq!(one.unwrap_err().refusal, Refusal::Malformed);
                prop_assert!(count > 1 || !is_printable);
            }
        }
        headers.clear();
        headers.insert(CONTENT_TYPE, "x".repeat(long).parse().unwrap());
        prop_assert_eq!(single(&headers, &CONTENT_TYPE).is_ok(), long <= MAX_VALUE_BYTES);
    }

    #[test]
    fn an_answer_has_at_most_one_length(
        close_delimited: bool,
        lengths in prop::collection::vec("[-+]?[0-9]{0,21}|0x1|1,1", 0..3),
        codings in prop::collection::vec("chunked|Chunked|gzip|gzip, chunked", 0..3),
    ) {
        let bytes = |texts: &[String]| -> Vec<Vec<u8>> {
            texts.iter().map(|text| text.clone().into_bytes()).collect()
        };
        let mut headers = with(&CONTENT_LENGTH, &bytes(&lengths));
        headers.extend(with(&TRANSFER_ENCODING, &bytes(&codings)));
        match framing(&headers, close_delimited) {
            Ok(Framing::Close) => {
                prop_assert!(close_delimited && lengths.is_empty() && codings.is_empty());
            }
            Ok(Framing::Chunked) => {
                prop_assert!(lengths.is_empty() && codings.len() == 1);
                prop_assert_eq!(codings[0].to_ascii_lowercase(), "chunked");
            }
            Ok(Framing::Length(length)) => {
                prop_assert!(codings.is_empty() && lengths.len() == 1);
                prop_assert_eq!(lengths[0].parse(), Ok(length));
            }
            Err(refused) => prop_assert_eq!(refused.refusal, Refusal::Malformed),
        }
    }

    #[test]
    fn the_written_head_carries_the_checked_values(
        content_type in "[!-~]{1,20}",
        length in prop::option::of(any::<u64>()),
    ) {
        let without_length = [Framing::Chunked, Framing::Close][content_type.len() % 2];
        let head = AnswerHead {
            content_type: content_type.clone(),
            format: MetricsFormat::Text,
            content_encoding: None,
            framing: length.map_or(without_length, Framing::Length),
        };
        let written = head.to_http(Persistence::Close);
        let mut headers = [httparse::EMPTY_HEADER; 6];
        let mut read = httparse::Response::new(&mut headers);
        prop_assert_eq!(read.parse(written.as_bytes()), Ok(httparse::Status::Complete(written.len())));
        prop_assert_eq!((read.code, read.version), (Some(200), Some(1)));
        let value = |name: &str| {
            let header = read.headers.iter().find(|header| header.name == name);
            header.map(|header| String::from_utf8_lossy(header.value).into_owned())
        };
        prop_assert_eq!(value("Content-Type"), Some(content_type));
        prop_assert_eq!(value("X-Content-Type-Options"), Some("nosniff".to_owned()));
        prop_assert_eq!(value("Content-Security-Policy"), Some("sandbox; default-src 'none'".to_owned()));
        prop_assert_eq!(value("Content-Length"), length.map(|length| length.to_string()));
        prop_assert_eq!(value("Transfer-Encoding").is_some(), length.is_none());
        prop_assert_eq!(value("Connection"), Some("close".to_owned()));
    }
}
