//! Random files and breakages, and a simple model of what they must allow.

use std::collections::BTreeSet;

pub(super) const CAS: usize = 3;
pub(super) const SCRAPERS: usize = 2;
pub(super) const SERVICES: [&str; 2] = ["node", "web"];
pub(super) const SOURCES: [&str; 2] = ["127.0.0.1", "192.0.2.7"];

/// The content of the files at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Files {
    pub(super) grants: BTreeSet<Grant>,
    pub(super) cas: BTreeSet<usize>,
    /// For each CA, the revoked scrapers.
    pub(super) revoked: [BTreeSet<usize>; CAS],
}

/// One permission: indices of a scraper, of an address in [`SOURCES`] and of a name in [`SERVICES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grant {
    pub(super) scraper: usize,
    pub(super) source: usize,
    pub(super) service: usize,
}

/// The grant that every set of files has.
pub(super) const FIRST_GRANT: Grant = Grant {
    scraper: 0,
    source: 0,
    service: 0,
};

/// Which part is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakage {
    None,
    Key,
    Directory,
    Limits,
    UnknownKey,
    Toml,
    Entry,
    Cas,
    Crl(usize),
    /// Two at once.
    CrlAndEntry(usize),
    CrlAndCas(usize),
}

impl Breakage {
    pub(super) fn includes(self, other: Self) -> bool {
        if let Self::CrlAndEntry(of) = self {
            return [Self::Crl(of), Self::Entry].contains(&other);
        }
        if let Self::CrlAndCas(of) = self {
            return [Self::Crl(of), Self::Cas].contains(&other);
        }
        self == other
    }
}

/// The simple model: the last valid files, and the newest valid version of each part since.
pub(super) struct Expected {
    whole: Files,
    grants: Option<BTreeSet<Grant>>,
    cas: Option<BTreeSet<usize>>,
    pub(super) revoked: [BTreeSet<usize>; CAS],
}

impl Expected {
    pub(super) fn of(whole: Files) -> Self {
        Self {
            whole,
            grants: None,
            cas: None,
            revoked: Default::default(),
        }
    }

    pub(super) fn read(&mut self, files: &Files, breakage: Breakage) {
        if breakage == Breakage::None {
            *self = Self::of(files.clone());
            return;
        }
        if !breakage.includes(Breakage::Toml) && !breakage.includes(Breakage::Entry) {
            self.grants = Some(files.grants.clone());
        }
        if !breakage.includes(Breakage::Cas) {
            self.cas = Some(files.cas.clone());
        }
        for (of, revoked) in self.revoked.iter_mut().enumerate() {
            if !breakage.includes(Breakage::Crl(of)) {
                revoked.clone_from(&files.revoked[of]);
            }
        }
    }

    pub(super) fn allows(&self, ca: usize, grant: Grant) -> bool {
        let Grant { scraper, .. } = grant;
        self.whole.grants.contains(&grant)
            && self.grants.as_ref().is_none_or(|all| all.contains(&grant))
            && self.whole.cas.contains(&ca)
            && self.cas.as_ref().is_none_or(|cas| cas.contains(&ca))
            && !self.whole.revoked[ca].contains(&scraper)
            && !self.revoked[ca].contains(&scraper)
    }
}

/// xorshift64* with a fixed seed: the same cases each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let rolled = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(rolled).unwrap() % end
    }

    /// Picks each with a chance of `in_four` in four.
    fn some<T: Ord>(&mut self, of: impl IntoIterator<Item = T>, in_four: usize) -> BTreeSet<T> {
        of.into_iter().filter(|_| self.below(4) < in_four).collect()
    }

    pub(super) fn files(&mut self) -> Files {
        let all = (0..SCRAPERS).flat_map(|scraper| {
            (0..SOURCES.len()).flat_map(move |source| {
                (0..SERVICES.len()).map(move |service| Grant {
                    scraper,
                    source,
                    service,
                })
            })
        });
        let mut grants = self.some(all, 3);
        grants.insert(FIRST_GRANT);
        let mut cas = self.some(0..CAS, 3);
        cas.insert(0);
        Files {
            grants,
            cas,
            revoked: std::array::from_fn(|_| self.some(0..SCRAPERS, 1)),
        }
    }

    /// Changes each part with a chance of one in two.
    pub(super) fn change(&mut self, files: &mut Files) {
        let newer = self.files();
        if self.below(2) == 0 {
            files.grants = newer.grants;
        }
        if self.below(2) == 0 {
            files.cas = newer.cas;
        }
        if self.below(2) == 0 {
            files.revoked = newer.revoked;
        }
    }

    pub(super) fn breakage(&mut self) -> Breakage {
        let of = self.below(CAS);
        match self.below(12) {
            0 | 1 => Breakage::None,
            2 => Breakage::Key,
            3 => Breakage::Directory,
            4 => Breakage::Limits,
            5 => Breakage::UnknownKey,
            6 => Breakage::Toml,
            7 => Breakage::Entry,
            8 => Breakage::Cas,
            9 => Breakage::Crl(of),
            10 => Breakage::CrlAndEntry(of),
            _ => Breakage::CrlAndCas(of),
        }
    }
}
