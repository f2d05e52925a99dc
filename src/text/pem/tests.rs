use super::*;

const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

fn lines(file: &[u8]) -> Result<Vec<usize>, usize> {
    let blocks = blocks(file).map_err(|problem| problem.line)?;
    Ok(blocks.iter().map(|block| block.line).collect())
}

#[test]
fn pem_blocks_that_openssl_reads_have_their_line() {
    let dos = ONE.replace('\n', "\r\n");
    let old = ONE.replace('\n', "\r");
    for (file, expected) in [
        (String::new(), vec![]),
        ("junk\nBegin of the text\nend\n--\n".to_owned(), vec![]),
        (format!("{ONE}{ONE}"), vec![1, 4]),
        (format!("{dos}{dos}"), vec![1, 4]),
        (format!("{old}{old}"), vec![1, 4]),
        (format!("\u{feff}{ONE}"), vec![1]),
        (
            format!("# a comment\n#{ONE}\n")
                .replace("\n-----END", "\n#-----END")
                .replace("\nMAA=", "\n#MAA="),
            vec![],
        ),
        (format!("subject=/CN=x\n\n{ONE}"), vec![3]),
        (ONE.trim_end().to_owned(), vec![1]),
        (ONE.replace("-----\n", "----- \t\0\n"), vec![1]),
        (ONE.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), vec![1]),
        (ONE.replace("CERTIFICATE", "X509 CERTIFICATE"), vec![1]),
    ] {
        assert_eq!(lines(file.as_bytes()), Ok(expected), "{file:?}");
    }
    let file = format!("\u{feff}{ONE}");
    let der = |block: &Block<'_>| block.der().unwrap();
    let ders: Vec<_> = blocks(file.as_bytes()).unwrap().iter().map(der).collect();
    assert_eq!(ders, [[0x30, 0]]);
}

#[test]
fn a_malformed_block_is_an_error_with_its_line() {
    let swap = |from: &str, to: &str| ONE.replacen(from, to, 1);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(Vec<u8>, usize)> = [
        (swap("-----BEGIN", "----BEGIN"), 2),
        (swap("-----BEGIN", "-BEGIN"), 2),
        (swap("-----BEGIN", "BEGIN"), 2),
        (swap("-----BEGIN", "------BEGIN"), 2),
        (swap("-----BEGIN", "  -----BEGIN"), 2),
        (swap("-----BEGIN", "\t-----BEGIN"), 2),
        (swap("-----BEGIN", "\u{feff}-----BEGIN"), 2),
        (swap("-----BEGIN", "\0-----BEGIN"), 2),
        (swap("-----BEGIN", "\u{2014}\u{2013}-BEGIN"), 2),
        (swap("-----BEGIN", "cert: -----BEGIN"), 2),
        (swap("-----BEGIN", "----- BEGIN"), 2),
        (swap("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE----"), 2),
        (swap("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE"), 2),
        (swap("BEGIN CERTIFICATE", "BEGINCERTIFICATE"), 2),
        (swap("BEGIN CERTIFICATE", "BEGIN CERTIFICAT"), 2),
        (swap("BEGIN CERTIFICATE", "begin certificate"), 2),
        (swap("BEGIN CERTIFICATE", "BEGN CERTIFICATE"), 2),
        (swap("-----BEGIN CERTIFICATE-----\n", ""), 3),
        (swap("-----BEGIN CERTIFICATE-----\n", "\n"), 4),
        (swap("-----END CERTIFICATE-----\n", ""), 2),
        (swap("END CERTIFICATE", "END X509 CRL"), 4),
        (swap("-----END", "----END"), 4),
        (swap("-----END", " -----END"), 4),
        (swap("-----END", "----- END"), 4),
        (ONE.replace('\n', "\\n"), 2),
        (ONE.replace('\n', " "), 2),
        (ONE.replace('\n', ""), 2),
        (ONE.replace("-----", ""), 2),
        (ONE.trim_end().to_owned() + ONE, 4),
    ]
    .into_iter()
    .map(|(file, line)| (format!("\n{file}").into_bytes(), line))
    .chain([(utf16(ONE), 1), (utf16(&format!("\n{ONE}")), 2)])
    .collect();
    for (file, line) in cases {
        // Behind one that is good, the error is there, too.
        let second = [ONE.as_bytes(), &file].concat();
        assert_eq!(lines(&file), Err(line), "{}", file.escape_ascii());
        assert_eq!(lines(&second), Err(line + 3), "{}", file.escape_ascii());
    }
}

#[test]
fn the_line_that_is_not_base64_is_reported() {
    for (body, line) in [
        ("MAA=\nM!A=", 3),
        ("MAA=\n\nM\u{fc}A=", 4),
        ("M", 1),
        ("MAA=MAA=", 1),
        ("MA\\nA=", 2),
        ("", 1),
    ] {
        let file = ONE.replace("MAA=", body);
        let blocks = blocks(file.as_bytes()).unwrap();
        let decoded = blocks[0].der().map_err(|problem| problem.line);
        match body {
            "" => assert_eq!(decoded, Ok(vec![])),
            _ => assert_eq!(decoded, Err(line), "{body:?}"),
        }
    }
}

#[test]
fn pem_in_other_text_is_found() {
    for (text, line) in [
        ("", None),
        ("listen = [\"127.0.0.1:0\"] # begin here\n", None),
        ("# -----BEGIN CERTIFICATE-----\n", None),
        ("\nkey_file = \"-----BEGIN PRIVATE KEY-----\\nMIG", Some(2)),
        (ONE, Some(1)),
        ("MAA=\n-----END PRIVATE KEY-----", Some(2)),
    ] {
        assert_eq!(found_in(text), line, "{text:?}");
    }
}

#[test]
fn a_key_in_any_notation_is_pasted() {
    use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

    let ed25519 = [&[0x30, 46, 2, 1, 0][..], &[251; 43]].concat();
    let rsa = [&[0x30, 0x82, 1, 0, 2, 1, 0][..], &[251; 253]].concat();
    let certificate = [&[0x30, 0x81, 200, 0x30, 0x81, 100][..], &[251; 197]].concat();
    let pem = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n".to_vec();
    for bytes in [ed25519, rsa, certificate, pem] {
        for text in [BASE64, BASE64URL, HEXLOWER, HEXUPPER].map(|form| form.encode(&bytes)) {
            let (half, rest) = text.split_at(32);
            for text in [
                text.clone(),
                text.trim_end_matches('=').to_owned(),
                format!("{half}\n{rest}\n"),
                format!("{half}\\n{rest}\\n"),
                half.to_owned(),
                format!("{half}..."),
                format!("key: {text}"),
                format!("tls.key:{text}"),
                format!("--{text}"),
                format!("--tls-key={text}"),
                format!("{text:?}"),
            ] {
                assert!(is_pasted(&text), "{text}");
            }
        }
        let colons: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(is_pasted(&colons.join(":")));
        assert!(is_pasted(&colons.join(" ")));
    }
    for text in [
        "",
        "MIGA",
        "MIGHAgEA",
        "MONITORING_OF_PROMETHEUS/server/key",
        "MAINTENANCE/aegis/private/server/key",
        "MIIserver/private/folder/of/aegis",
        "/etc/aegis/MIIserver/key",
        "/run/credentials/aegis.service/server.key",
        "spki:sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "3045022100d3a1c4b5f60718293a4b5c6d7e8f90a1b2c3d4",
        "[2001:db8:3082::1]:31337",
    ] {
        assert!(!is_pasted(text), "{text}");
    }
}
