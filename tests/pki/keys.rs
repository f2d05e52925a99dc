//! Keys of every kind, and signatures of every algorithm. openssl makes those that rcgen does not.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use tempfile::NamedTempFile;

use crate::der::{Bytes, bits, integer, oid, sequence, tlv};
use crate::random::Random;

/// How a certificate or CRL is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signing {
    /// With SHA-256, or what belongs to the curve.
    Usual,
    /// As usual, but the signed part names another algorithm.
    OtherInside,
    /// As usual, but RSA and ECDSA without and with a NULL, which is the wrong way round.
    OtherParameters,
    /// RSA (PKCS #1) or ECDSA with this digest.
    Digest(&'static str),
    /// RSA PSS with this digest, and a salt of this length.
    Pss(&'static str, u8),
}

impl Signing {
    /// An unusual way to sign.
    pub fn random(random: &mut Random, key: &Key) -> Self {
        const DIGESTS: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];
        match (key.family, random.below(8)) {
            (Family::Other, _) | (_, 0) => Self::OtherInside,
            (_, 1) => Self::OtherParameters,
            (Family::Rsa, 2..=4) => {
                const PSS: [(&str, u8); 5] = [
                    ("sha256", 32),
                    ("sha384", 48),
                    ("sha512", 64),
                    ("sha256", 20),
                    ("sha1", 20),
                ];
                let (digest, salt) = random.pick(&PSS);
                Self::Pss(digest, salt)
            }
            _ => Self::Digest(random.pick(&DIGESTS)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    Rsa,
    Ecdsa,
    Other,
}

/// A key. Those of a kind that rcgen does not know sign nothing.
pub struct Key {
    /// The kind, as in the list of changes.
    pub kind: &'static str,
    family: Family,
    digest: &'static str,
    pair: Option<KeyPair>,
    public: Bytes,
    /// For openssl.
    file: NamedTempFile,
}

/// How many of [`Key::all`] can sign. The others are for leaves.
pub const SIGNING_KEYS: usize = 11;

impl Key {
    /// First those that can sign.
    pub fn all() -> Vec<Self> {
        use Family::{Ecdsa, Rsa};
        let usual = [
            ("P-256", Ecdsa, "sha256"),
            ("P-256", Ecdsa, "sha256"),
            ("P-256", Ecdsa, "sha256"),
            ("P-256", Ecdsa, "sha256"),
            ("Ed25519", Family::Other, ""),
            ("Ed25519", Family::Other, ""),
            ("P-384", Ecdsa, "sha384"),
            ("P-384", Ecdsa, "sha384"),
            ("P-521", Ecdsa, "sha512"),
            ("RSA 2048", Rsa, "sha256"),
            ("RSA 3072", Rsa, "sha256"),
        ];
        assert_eq!(usual.len(), SIGNING_KEYS);
        let usual = usual.map(|(kind, family, digest)| {
            let pair = match kind {
                "P-384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
                "P-521" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
                "Ed25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519),
                "RSA 2048" => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
                "RSA 3072" => {
                    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072)
                }
                _ => KeyPair::generate(),
            };
            let pair = pair.unwrap();
            Self {
                kind,
                family,
                digest,
                public: pair.subject_public_key_info(),
                file: file_of(pair.serialize_pem().as_bytes()),
                pair: Some(pair),
            }
        });
        usual.into_iter().chain(Self::unusual()).collect()
    }

    /// Those that sign nothing, for leaves.
    fn unusual() -> impl Iterator<Item = Self> {
        let unusual = [
            ("RSA 1024", "RSA", "rsa_keygen_bits:1024"),
            ("RSA 2044", "RSA", "rsa_keygen_bits:2044"),
            ("RSA-PSS 2048", "RSA-PSS", "rsa_keygen_bits:2048"),
            ("secp256k1", "EC", "ec_paramgen_curve:secp256k1"),
            ("P-224", "EC", "ec_paramgen_curve:P-224"),
            ("Ed448", "ED448", ""),
            ("X25519", "X25519", ""),
        ];
        unusual.into_iter().map(|(kind, algorithm, option)| {
            let option = Some(option).filter(|option| !option.is_empty());
            let option = option
                .map(|option| vec!["-pkeyopt", option])
                .unwrap_or_default();
            let pem = openssl(
                &[&["genpkey", "-algorithm", algorithm], &*option].concat(),
                &[],
            );
            Self {
                kind,
                family: Family::Other,
                digest: "",
                pair: None,
                public: openssl(&["pkey", "-pubout", "-outform", "DER"], &pem),
                file: file_of(&pem),
            }
        })
    }

    /// Its SubjectPublicKeyInfo.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// In PKCS #8, if it is usable in TLS.
    pub fn private(&self) -> Option<Bytes> {
        self.pair.as_ref().map(KeyPair::serialize_der)
    }

    /// Its key identifier.
    pub fn id(&self) -> Bytes {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.public);
        hash.as_ref()[..20].to_vec()
    }

    /// A signed structure. `content` encodes what is signed, which contains the algorithm.
    pub fn sign(&self, signing: Signing, content: impl FnOnce(Bytes) -> Bytes) -> Bytes {
        // A later change may have given the certificate another signer.
        let signing = match (signing, self.family) {
            (Signing::Digest(_) | Signing::Pss(..), Family::Other) => Signing::Usual,
            (Signing::Pss(..), Family::Ecdsa) => Signing::Usual,
            (signing, _) => signing,
        };
        let outside = self.algorithm(signing);
        let inside = match signing {
            // ECDSA with SHA-224.
            Signing::OtherInside => sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 1])]),
            Signing::Usual | Signing::OtherParameters | Signing::Digest(_) | Signing::Pss(..) => {
                outside.clone()
            }
        };
        let signed = content(inside);
        let signature = match signing {
            Signing::Digest(digest) => self.sign_by_openssl(digest, &[], &signed),
            Signing::Pss(digest, salt) => {
                let salt = format!("rsa_pss_saltlen:{salt}");
                let options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", &salt];
                self.sign_by_openssl(digest, &options, &signed)
            }
            Signing::Usual | Signing::OtherInside | Signing::OtherParameters => {
                self.pair.as_ref().unwrap().sign(&signed).unwrap()
            }
        };
        sequence(&[signed, outside, bits(&signature)])
    }

    fn sign_by_openssl(&self, digest: &str, options: &[&str], signed: &[u8]) -> Bytes {
        let digest = format!("-{digest}");
        let file = self.file.path().to_str().unwrap();
        openssl(
            &[&["dgst", &digest, "-sign", file], options].concat(),
            signed,
        )
    }

    fn algorithm(&self, signing: Signing) -> Bytes {
        let null = || tlv(5, &[]);
        let without_null = signing == Signing::OtherParameters;
        if let Signing::Pss(digest, salt) = signing {
            return pss(digest, salt);
        }
        let digest = match signing {
            Signing::Digest(digest) => digest,
            Signing::Usual | Signing::OtherInside | Signing::OtherParameters | Signing::Pss(..) => {
                self.digest
            }
        };
        match self.family {
            Family::Rsa => {
                let number = match digest {
                    "sha1" => 5,
                    "sha256" => 11,
                    "sha384" => 12,
                    _ => 13,
                };
                let parameters = if without_null { vec![] } else { null() };
                sequence(&[oid(&[1, 2, 840, 113_549, 1, 1, number]), parameters])
            }
            Family::Ecdsa => {
                let oid = match digest {
                    "sha1" => oid(&[1, 2, 840, 10045, 4, 1]),
                    "sha256" => oid(&[1, 2, 840, 10045, 4, 3, 2]),
                    "sha384" => oid(&[1, 2, 840, 10045, 4, 3, 3]),
                    _ => oid(&[1, 2, 840, 10045, 4, 3, 4]),
                };
                let parameters = if without_null { null() } else { vec![] };
                sequence(&[oid, parameters])
            }
            Family::Other => sequence(&[oid(&[1, 3, 101, 112])]),
        }
    }
}

/// RSASSA-PSS with its parameters (RFC 4055, section 3.1).
fn pss(digest: &str, salt: u8) -> Bytes {
    let hash = match digest {
        "sha1" => oid(&[1, 3, 14, 3, 2, 26]),
        "sha256" => oid(&[2, 16, 840, 1, 101, 3, 4, 2, 1]),
        "sha384" => oid(&[2, 16, 840, 1, 101, 3, 4, 2, 2]),
        _ => oid(&[2, 16, 840, 1, 101, 3, 4, 2, 3]),
    };
    let hash = sequence(&[hash, tlv(5, &[])]);
    let mask = sequence(&[oid(&[1, 2, 840, 113_549, 1, 1, 8]), hash.clone()]);
    // What is the default must be left out.
    let parameters = match (digest, salt) {
        ("sha1", 20) => sequence(&[]),
        (_, 20) => sequence(&[tlv(0xa0, &hash), tlv(0xa1, &mask)]),
        _ => sequence(&[
            tlv(0xa0, &hash),
            tlv(0xa1, &mask),
            tlv(0xa2, &integer(salt)),
        ]),
    };
    sequence(&[oid(&[1, 2, 840, 113_549, 1, 1, 10]), parameters])
}

fn file_of(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn openssl(arguments: &[&str], input: &[u8]) -> Bytes {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}
