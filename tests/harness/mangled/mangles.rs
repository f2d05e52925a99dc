//! The ways in which a file can be broken.

use data_encoding::{BASE64, HEXLOWER};

use super::{Random, wrapped};

type Mangle = (&'static str, fn(&mut Random, &str) -> Vec<u8>);

pub(super) const MANGLES: &[Mangle] = &[
    ("nothing", |_, text| text.into()),
    ("escaped", |_, text| text.replace('\n', "\\n").into()),
    ("escaped twice", |_, text| {
        text.replace('\n', "\\\\n").into()
    }),
    ("escaped as of DOS", |_, text| {
        text.replace('\n', "\\r\\n").into()
    }),
    ("escaped, quoted", |_, text| format!("{text:?}").into()),
    ("blanks for breaks", |_, text| {
        text.replace('\n', " ").into()
    }),
    ("no breaks", |_, text| text.replace('\n', "").into()),
    ("tags for breaks", |_, text| {
        text.replace('\n', "<br>").into()
    }),
    ("form feeds", |_, text| text.replace('\n', "\u{c}").into()),
    ("line separators", |_, text| {
        text.replace('\n', "\u{2028}").into()
    }),
    ("double breaks", |_, text| text.replace('\n', "\n\n").into()),
    ("DOS", |_, text| text.replace('\n', "\r\n").into()),
    ("Macintosh", |_, text| text.replace('\n', "\r").into()),
    ("body in one line", |_, text| {
        text.replace("\n", "")
            .replace("-----M", "-----\nM")
            .replace("-----END", "\n-----END")
            .into()
    }),
    ("first break lost", |_, text| {
        text.replace("-----\n", "-----").into()
    }),
    ("last break lost", |_, text| {
        text.replace("\n-----END", "-----END").into()
    }),
    ("one break lost", |random, text| without(text, '\n', random)),
    ("label swallows key", |_, text| {
        text.replace("KEY-----\n", "KEY ").into()
    }),
    ("key in END line", |_, text| {
        text.replace("\n-----END PRIVATE", "-----END ").into()
    }),
    ("four dashes", |_, text| {
        text.replace("-----", "----").into()
    }),
    ("six dashes", |_, text| {
        text.replace("-----", "------").into()
    }),
    ("no dashes", |_, text| text.replace('-', "").into()),
    ("fewer dashes before", |_, text| {
        text.replace("-----BEGIN", "---BEGIN").into()
    }),
    ("fewer dashes after", |_, text| {
        text.replace("KEY-----", "KEY---").into()
    }),
    ("dashes of a word processor", |_, text| {
        text.replace("--", "\u{2014}").into()
    }),
    ("indented", |_, text| indented(text, "  ")),
    ("indented by tabs", |_, text| indented(text, "\t")),
    ("quoted mail", |_, text| indented(text, "> ")),
    ("comments", |_, text| indented(text, "#")),
    ("blanks at ends", |_, text| {
        text.replace('\n', "  \t\n").into()
    }),
    ("key as certificate", |_, text| {
        relabelled(text, "CERTIFICATE")
    }),
    ("key as trusted certificate", |_, text| {
        relabelled(text, "TRUSTED CERTIFICATE")
    }),
    ("key as CRL", |_, text| relabelled(text, "X509 CRL")),
    ("key as public key", |_, text| {
        relabelled(text, "PUBLIC KEY")
    }),
    ("key as PKCS#1", |_, text| {
        relabelled(text, "RSA PRIVATE KEY")
    }),
    ("key as SEC1", |_, text| relabelled(text, "EC PRIVATE KEY")),
    ("key as DSA", |_, text| relabelled(text, "DSA PRIVATE KEY")),
    ("key as PKCS#7", |_, text| relabelled(text, "PKCS7")),
    ("certificate as key", |_, text| {
        text.replace("CERTIFICATE", "PRIVATE KEY").into()
    }),
    ("label misspelt", |_, text| {
        text.replace("KEY-----", "KEYS-----").into()
    }),
    ("lower-case labels", |_, text| {
        text.replace("BEGIN", "begin").replace("END", "end").into()
    }),
    ("no label", |_, text| text.replace("PRIVATE KEY", "").into()),
    ("BEGIN misspelt", |_, text| {
        text.replace("BEGIN", "BEGN").into()
    }),
    ("END misspelt", |_, text| text.replace("END", "EDN").into()),
    ("END before BEGIN", |_, text| {
        text.replace("BEGIN", "xx")
            .replace("END", "BEGIN")
            .replace("xx", "END")
            .into()
    }),
    ("no BEGIN lines", |_, text| without_lines(text, "BEGIN")),
    ("no END lines", |_, text| without_lines(text, "END")),
    ("no lines but the body", |_, text| {
        without_lines(text, "-----")
    }),
    ("a line lost", |random, text| without_line(random, text)),
    ("a line twice", |random, text| {
        lines(random, text, |lines, at| lines.insert(at, lines[at]))
    }),
    ("a line as a comment", |random, text| {
        lines(random, text, |lines, at| lines.insert(at, "# x"))
    }),
    ("a line moved", |random, text| {
        lines(random, text, |lines, at| lines.swap(0, at))
    }),
    ("an empty line", |random, text| {
        lines(random, text, |lines, at| lines.insert(at, ""))
    }),
    ("a header", |random, text| {
        lines(random, text, |lines, at| {
            lines.insert(at, "Proc-Type: 4,ENCRYPTED")
        })
    }),
    ("its first part", |random, text| {
        text.as_bytes()[..random.below(text.len())].into()
    }),
    ("its last part", |random, text| {
        text.as_bytes()[random.below(text.len())..].into()
    }),
    ("its first half", |_, text| {
        text.as_bytes()[..text.len() / 2].into()
    }),
    ("its second half", |_, text| {
        text.as_bytes()[text.len() / 2..].into()
    }),
    ("half of it twice", |_, text| {
        [&text.as_bytes()[..text.len() / 2], text.as_bytes()].concat()
    }),
    ("twice", |_, text| text.repeat(2).into()),
    ("joined", |_, text| text.trim_end().repeat(2).into()),
    ("bit lost", |random, text| {
        byte(random, text, |byte| byte ^ 1)
    }),
    ("byte as NUL", |random, text| byte(random, text, |_| 0)),
    ("byte of no text", |random, text| {
        byte(random, text, |_| 0xff)
    }),
    ("byte as a dash", |random, text| {
        byte(random, text, |_| b'-')
    }),
    ("byte as a quote", |random, text| {
        byte(random, text, |_| b'"')
    }),
    ("byte as padding", |random, text| {
        byte(random, text, |_| b'=')
    }),
    ("byte as an equals sign in each line", |_, text| {
        text.replace('\n', "=\n").into()
    }),
    ("byte inserted", |random, text| insert(random, text, "Q")),
    ("blank inserted", |random, text| insert(random, text, " ")),
    ("BEGIN inserted", |random, text| {
        insert(random, text, "\n-----BEGIN PRIVATE KEY-----\n")
    }),
    ("END inserted", |random, text| {
        insert(random, text, "\n-----END PRIVATE KEY-----\n")
    }),
    ("certificate inserted", |random, text| {
        insert(
            random,
            text,
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        )
    }),
    ("byte-order mark", |_, text| {
        format!("\u{feff}{text}").into()
    }),
    ("byte-order mark inside", |_, text| {
        text.replace("-----BEGIN", "\u{feff}-----BEGIN").into()
    }),
    ("UTF-16", |_, text| {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }),
    ("UTF-16 with its mark", |_, text| {
        format!("\u{feff}{text}")
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect()
    }),
    ("UTF-32", |_, text| {
        text.chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect()
    }),
    ("NUL before", |_, text| format!("\0{text}").into()),
    ("base64 of it", |_, text| {
        BASE64.encode(text.as_bytes()).into()
    }),
    ("hexadecimal of it", |_, text| {
        HEXLOWER.encode(text.as_bytes()).into()
    }),
    ("decimal of it", |_, text| {
        format!("{:?}", text.as_bytes()).into()
    }),
    ("URL-encoded", |_, text| {
        text.replace('\n', "%0A")
            .replace(' ', "%20")
            .replace('+', "%2B")
            .into()
    }),
    ("DER", |_, text| der(text)),
    ("DER, cut", |_, text| {
        der(text).into_iter().take(40).collect()
    }),
    ("base64url", |_, text| {
        text.replace('+', "-").replace('/', "_").into()
    }),
    ("nested", |_, text| {
        wrapped("PRIVATE KEY", text.as_bytes()).into()
    }),
    ("nested in a certificate", |_, text| {
        wrapped("CERTIFICATE", text.as_bytes()).into()
    }),
    ("DER in a certificate", |_, text| {
        wrapped("CERTIFICATE", &der(text)).into()
    }),
    ("DER in a CRL", |_, text| {
        wrapped("X509 CRL", &der(text)).into()
    }),
    ("DER with something after it", |_, text| {
        wrapped("PRIVATE KEY", &[der(text), der(text)].concat()).into()
    }),
    ("lengths changed", |random, text| lengths(random, text)),
    ("YAML", |_, text| {
        [b"key: |\n", &*indented(text, "    ")].concat()
    }),
    ("JSON", |_, text| format!("{{\"key\": {text:?}}}").into()),
    ("shell", |_, text| format!("export KEY='{text}'\n").into()),
    ("TOML", |_, text| {
        format!("[tls]\nkey_file = \"\"\"{text}\"\"\"\n").into()
    }),
    ("TOML, one line", |_, text| {
        format!("[tls]\nkey_file = {text:?}\nlisten = {text:?}\n").into()
    }),
    ("TOML, each line a key", |_, text| {
        text.replace('\n', " = 1\n").into()
    }),
    ("TOML, each line a value", |_, text| {
        text.replace('\n', "\"\nlisten = \"").into()
    }),
    ("TOML, each line a table", |_, text| {
        text.replace('\n', "]\n[").into()
    }),
];

fn indented(text: &str, by: &str) -> Vec<u8> {
    text.lines()
        .map(|line| format!("{by}{line}\n"))
        .collect::<String>()
        .into()
}

fn relabelled(text: &str, label: &str) -> Vec<u8> {
    let mut text = text.to_owned();
    for of_key in [
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "PRIVATE KEY",
    ] {
        text = text.replace(of_key, "\u{1}");
    }
    text.replace('\u{1}', label).into()
}

fn without(text: &str, gone: char, random: &mut Random) -> Vec<u8> {
    let places: Vec<usize> = text.match_indices(gone).map(|(at, _)| at).collect();
    let mut text = text.to_owned();
    if !places.is_empty() {
        text.remove(places[random.below(places.len())]);
    }
    text.into()
}

fn without_lines(text: &str, with: &str) -> Vec<u8> {
    let kept = text
        .split_inclusive('\n')
        .filter(|line| !line.contains(with));
    kept.collect::<String>().into()
}

fn without_line(random: &mut Random, text: &str) -> Vec<u8> {
    let remove = |lines: &mut Vec<&str>, at| {
        lines.remove(at);
    };
    lines(random, text, remove)
}

fn lines(random: &mut Random, text: &str, change: fn(&mut Vec<&str>, usize)) -> Vec<u8> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let at = random.below(lines.len());
    change(&mut lines, at);
    lines.join("\n").into()
}

fn byte(random: &mut Random, text: &str, change: fn(u8) -> u8) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    if !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = change(bytes[at]);
    }
    bytes
}

fn insert(random: &mut Random, text: &str, inserted: &str) -> Vec<u8> {
    let (before, after) = text.as_bytes().split_at(random.below(text.len() + 1));
    [before, inserted.as_bytes(), after].concat()
}

/// The decoded base64 of the last block, or nothing if it is gone.
fn der(text: &str) -> Vec<u8> {
    let body: String = match text.rsplit("-----").nth(2) {
        Some(body) => body.lines().filter(|line| !line.contains(':')).collect(),
        None => String::new(),
    };
    let der = BASE64.decode(body.trim().as_bytes());
    der.unwrap_or_else(|_| vec![0x30; 64])
}

/// Changes one of the first bytes of the DER, which are lengths and types.
fn lengths(random: &mut Random, text: &str) -> Vec<u8> {
    let mut der = der(text);
    let at = random.below(der.len().clamp(1, 40));
    if let Some(byte) = der.get_mut(at) {
        *byte = byte.wrapping_add(1);
    }
    wrapped("PRIVATE KEY", &der).into()
}
