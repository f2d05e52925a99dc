//! The identity in a leaf certificate (DER), compared with another reader of certificates.
#![no_main]

use aegis::policy::identity::{Identity, IdentityPattern, Name};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

fuzz_target!(|der: &[u8]| {
    let Ok(identity) = Identity::from_leaf(der) else {
        return;
    };
    let shown = identity.shown();
    assert!(!shown.is_empty() && shown.chars().count() <= 4 * 256 + 1);
    assert!(
        shown
            .chars()
            .all(|letter| matches!(letter, ' '..='~' | '…')),
        "{shown:?}"
    );
    assert!(
        identity
            .serial()
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
    );
    for name in identity.names() {
        judge(name, &identity);
    }
    // Any certificate of the CA, and the one with this key.
    for pattern in ["*".to_owned(), identity.key().to_string()] {
        let pattern: IdentityPattern = pattern.parse().unwrap();
        assert!(pattern.matched(&identity).is_some());
    }
    // Trailing bytes are not a part of any certificate.
    assert!(Identity::from_leaf(&[der, &[0]].concat()).is_err());
    // The chain check needs these fields as well.
    let der = CertificateDer::from(der);
    if let Ok(read) = EndEntityCert::try_from(&der) {
        for name in read.valid_dns_names() {
            let name = Name::Dns(name.to_ascii_lowercase());
            assert!(identity.names().contains(&name), "{name} is missing");
        }
    }
});

/// A name is canonical, and a pattern with the same text matches only this name.
fn judge(name: &Name, identity: &Identity) {
    match name {
        Name::Dns(text) => assert!(!text.bytes().any(|byte| byte.is_ascii_uppercase())),
        Name::Ip(address) => assert_eq!(*address, address.to_canonical()),
        Name::Email(_) | Name::Uri(_) => {}
    }
    if let Ok(pattern) = name.to_string().parse::<IdentityPattern>()
        && pattern.to_string() == name.to_string()
        && !name.to_string().contains('*')
    {
        assert_eq!(pattern.matched(identity), Some(name.to_string()));
    }
}
