//! Certificates for a week and for this machine: a CA, aegis's own, and the scraper's.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::Outcome;

pub(crate) const CA: &str = "ca.crt";
pub(crate) const SERVER: &str = "server.crt";
pub(crate) const SERVER_KEY: &str = "server.key";
pub(crate) const SCRAPER: &str = "prometheus.crt";
pub(crate) const SCRAPER_KEY: &str = "prometheus.key";

/// The name that the policy grants something to.
pub(crate) const SCRAPER_NAME: &str = "prometheus.example.org";

/// Writes the certificates and the two keys that are used. The CA's key is never written.
pub(crate) fn make(folder: &Path) -> Outcome {
    let mut params = valid_for_a_week("aegis demo CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, new_key()?)?;
    write(&folder.join(CA), &ca.pem(), READABLE)?;

    let mut params = valid_for_a_week("aegis demo")?;
    params.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = new_key()?;
    let certificate = params.signed_by(&key, &ca)?;
    write(&folder.join(SERVER), &certificate.pem(), READABLE)?;
    write(&folder.join(SERVER_KEY), &key.serialize_pem(), SECRET)?;

    let mut params = valid_for_a_week("prometheus")?;
    params.subject_alt_names = vec![
        SanType::DnsName(SCRAPER_NAME.try_into()?),
        SanType::URI("spiffe://example.org/prometheus".try_into()?),
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = new_key()?;
    let certificate = params.signed_by(&key, &ca)?;
    write(&folder.join(SCRAPER), &certificate.pem(), READABLE)?;
    write(&folder.join(SCRAPER_KEY), &key.serialize_pem(), SECRET)?;
    Ok(())
}

/// The validity starts yesterday, in case a clock is slow.
fn valid_for_a_week(common_name: &str) -> Outcome<CertificateParams> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed()?;
    params.not_before = now - DAY;
    params.not_after = now + 7 * DAY;
    Ok(params)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

fn write(path: &Path, pem: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(pem.as_bytes())
}

const READABLE: u32 = 0o644;
const SECRET: u32 = 0o600;
