//! Cases that showed something. Every run judges them too.

/// The seed and the number of each. A change of the generator makes other cases of them.
pub const KEPT: [(u64, usize); 5] = [
    // A client CA with the time zone `+0000` in a date: aegis accepted it, and no other verifier.
    (2, 1953),
    // The CRL of a former key of the CA lists the certificate: GnuTLS refuses it.
    (2, 6032),
    // An empty DNS name among the permitted ones: GnuTLS refuses every name.
    (3, 681),
    // A CA with an address outside its own constraints: Go refuses it.
    (1, 1419),
    // The second certificate of an intermediate has empty extended key usages.
    (2, 5260),
];
