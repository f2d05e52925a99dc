//! A limit: only the cryptography of one handshake and of one GiB, on one core.

use std::error::Error;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
};

use crate::Options;

/// Prints one JSON object: microseconds of each primitive, milliseconds per GiB of AES-GCM.
pub(crate) fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let time = Duration::from_millis(options.or("milliseconds", 300)?);
    let random = SystemRandom::new();
    let message = [7; 146]; // as long as what CertificateVerify signs under SHA-256 (RFC 8446, 4.4.3)

    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let sign = each(time, || pair.sign(&random, &message).is_ok());
    let signed = pair.sign(&random, &message)?;
    let public =
        signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
    let verify = each(time, || public.verify(&message, signed.as_ref()).is_ok());

    let theirs = agreement::EphemeralPrivateKey::generate(&X25519, &random)?;
    let theirs = UnparsedPublicKey::new(&X25519, theirs.compute_public_key()?);
    let x25519 = each(time, || {
        let Ok(ours) = agreement::EphemeralPrivateKey::generate(&X25519, &random) else {
            return false;
        };
        let shown = ours.compute_public_key().is_ok();
        shown && agreement::agree_ephemeral(ours, &theirs, (), |_| Ok(())).is_ok()
    });

    let theirs = DecapsulationKey::generate(&ML_KEM_768)?;
    let bytes = theirs.encapsulation_key()?.key_bytes()?;
    let bytes = bytes.as_ref();
    let ml_kem = each(time, || {
        EncapsulationKey::new(&ML_KEM_768, bytes).is_ok_and(|key| key.encapsulate().is_ok())
    });

    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[1; 16])?);
    let mut record = vec![0; RECORD];
    let seal = each(time, || {
        let nonce = Nonce::assume_unique_for_key([2; 12]);
        key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut record)
            .is_ok()
    });
    let aes = seal / 1000.0 * (1u64 << 30) as f64 / RECORD as f64;

    println!(
        "{{\"sign_us\": {sign:.2}, \"verify_us\": {verify:.2}, \"x25519_us\": {x25519:.2}, \"ml_kem_768_us\": {ml_kem:.2}, \
         \"handshake_us\": {:.2}, \"aes_128_gcm_ms_per_gib\": {aes:.1}}}",
        sign + 2.0 * verify + x25519 + ml_kem
    );
    Ok(())
}

/// The body of a full TLS record.
const RECORD: usize = 16 << 10;

/// The microseconds that one call takes: the median of short batches.
fn each(time: Duration, mut call: impl FnMut() -> bool) -> f64 {
    let begun = Instant::now();
    let mut batches = Vec::new();
    while begun.elapsed() < time {
        let batch = Instant::now();
        assert!((0..20).all(|_| call()), "a primitive failed");
        batches.push(batch.elapsed().as_secs_f64() * 1e6 / 20.0);
    }
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
}
