//! Temporary certificates, created for each test.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::PROMETHEUS;

/// A CA.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key and its intermediates.
pub struct Certified {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    pub serial: String,
}

impl Pki {
    pub fn new() -> Self {
        Self::named("aegis test CA")
    }

    /// A CA of this name. Two CAs of the same name have different keys.
    pub fn named(name: &str) -> Self {
        Self::named_with(name, |_| {})
    }

    /// As [`Pki::named`], with something changed.
    pub fn named_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// A CA below this one.
    pub fn intermediate(&self) -> Self {
        self.intermediate_with(|_| {})
    }

    /// As [`Pki::intermediate`], with something changed.
    pub fn intermediate_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params("aegis test intermediate");
        params.serial_number = Some(random_serial().to_vec().into());
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap();
        Self { issuer }
    }

    /// Another certificate of this intermediate's key, by the CA above it, with something changed.
    pub fn another_certificate(
        &self,
        above: &Self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = ca_params("aegis test intermediate");
        change(&mut params);
        let certificate = params.signed_by(self.issuer.key(), &above.issuer);
        certificate.unwrap().der().clone()
    }

    pub fn ca_pem(&self) -> String {
        self.issuer.as_ref().pem()
    }

    /// The CA's own certificate, in a form that can be revoked.
    pub fn certified(&self) -> Certified {
        let (_, parsed) = x509_parser::parse_x509_certificate(self.issuer.as_ref().der()).unwrap();
        Certified {
            chain: vec![self.ca_der()],
            key: KeyPair::generate().unwrap(),
            serial: data_encoding::HEXUPPER.encode(parsed.raw_serial()),
        }
    }

    pub fn ca_der(&self) -> CertificateDer<'static> {
        self.issuer.as_ref().der().clone()
    }

    /// The server's certificate, for every name of this host.
    pub fn server(&self) -> Certified {
        self.leaf(|params| {
            params.subject_alt_names = vec![dns("localhost"), ip("127.0.0.1"), ip("::1")];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// The certificate of the scraper that tests admit.
    pub fn client(&self) -> Certified {
        self.client_with(|_| {})
    }

    /// As [`Pki::client`], with something changed.
    pub fn client_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        self.leaf(|params| {
            params.subject_alt_names = vec![dns(PROMETHEUS)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(params);
        })
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let serial = random_serial();
        params.serial_number = Some(serial.to_vec().into());
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let serial = data_encoding::HEXUPPER.encode(&serial);
        Certified {
            chain: vec![certificate.der().clone()],
            key,
            serial,
        }
    }

    /// A CRL of this CA that lists one certificate.
    pub fn crl_revoking(&self, revoked: &Certified, next_update: Duration) -> String {
        let now = std::time::SystemTime::now();
        self.crl_with([revoked], |params| {
            params.next_update = (now - Duration::from_secs(3600) + next_update).into();
        })
    }

    /// A CRL of this CA that lists these, with something changed.
    pub fn crl_with<'a>(
        &self,
        revoked: impl IntoIterator<Item = &'a Certified>,
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let now = std::time::SystemTime::now();
        let entries = revoked.into_iter().map(|revoked| {
            let serial = data_encoding::HEXUPPER.decode(revoked.serial.as_bytes());
            rcgen::RevokedCertParams {
                serial_number: serial.unwrap().into(),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            }
        });
        let mut params = CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(7200)).into(),
            next_update: (now + Duration::from_secs(24 * 3600)).into(),
            crl_number: vec![1].into(),
            issuing_distribution_point: None,
            revoked_certs: entries.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Certified {
    /// A self-signed certificate.
    pub fn self_signed() -> Self {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![dns(PROMETHEUS)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            chain: vec![certificate.der().clone()],
            key,
            serial: String::new(),
        }
    }

    /// Sends these certificates with the leaf, as its chain.
    pub fn with_chain(mut self, above: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.chain.extend(above);
        self
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        use std::io::Write as _;
        let encode = |der: &CertificateDer<'_>| {
            let body = data_encoding::BASE64.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        let pem: String = self.chain.iter().map(encode).collect();
        std::fs::write(folder.join(format!("{name}.pem")), pem).unwrap();
        let key_file = folder.join(format!("{name}.key"));
        drop(std::fs::remove_file(&key_file));
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(key_file)
            .unwrap();
        file.write_all(self.key.serialize_pem().as_bytes()).unwrap();
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

pub fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A positive serial number without leading zeros.
fn random_serial() -> [u8; 8] {
    std::array::from_fn(|_| rand_byte() & 0x7f | 1)
}

fn rand_byte() -> u8 {
    let mut byte = [0];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut byte)
        .unwrap();
    byte[0]
}
