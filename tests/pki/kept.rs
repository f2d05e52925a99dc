//! Cases that showed something. Every run judges them too.

use crate::Judged;

/// The seed and the number of each, and a part of the change that showed it. A change of the
/// generator makes other cases of them.
pub const KEPT: [(u64, usize, &str); 5] = [
    // A client CA with the time zone `+0000` in a date: aegis accepted it, and no other verifier.
    (2, 1953, "root: dates, the end with an offset"),
    // The CRL of a former key of the CA lists the certificate: GnuTLS refuses it.
    (2, 6032, "crl: revoked"),
    // An empty DNS name among the permitted ones: GnuTLS refuses every name.
    (
        3,
        681,
        "nameConstraints permit DNS \"example.net\" DNS \"\"",
    ),
    // A CA with an address outside its own constraints: Go refuses it.
    (1, 1419, "intermediate: nameConstraints permit IP"),
    // The second certificate of an intermediate has empty extended key usages.
    (2, 5260, "intermediate: extKeyUsage Some([])"),
];

/// Panics if a kept case has become another one.
pub fn assert_made(judged: &[Judged]) {
    for (seed, number, change) in KEPT {
        let mut cases = judged.iter().map(|judged| &judged.case);
        let kept = cases.find(|case| (case.seed, case.number) == (seed, number));
        let changes = &kept.unwrap().changes;
        assert!(
            changes.iter().any(|made| made.contains(change)),
            "the kept case {number} of seed {seed} is another one: {changes:?}"
        );
    }
}
