//! Enforces what newer files take away even while another part of them is invalid.
//!
//! A request must then be allowed by the last complete gate and by each valid part read since. A part
//! applies until a newer valid version replaces it, or until everything is valid. It never grants
//! anything, and an invalid part never gives anything back.

use std::path::PathBuf;
use std::sync::Arc;

use super::Gate;
use crate::config::ConfigError;
use crate::policy::Policy;
use crate::tls::TrustRestrictions;
use crate::tls::credentials::{ClientCas, Crl, CrlFile, Parts};

/// Files that make no gate: their faults, and their valid parts.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) faults: Vec<ConfigError>,
    pub(crate) sound: Sound,
}

/// The valid parts of the files.
#[derive(Debug, Default)]
pub(crate) struct Sound {
    policy: Option<Arc<Policy>>,
    client_cas: Option<Arc<ClientCas>>,
    crl_files: Vec<CrlFile>,
}

impl Sound {
    /// Takes the valid parts.
    pub(crate) fn of(policy: Option<Policy>, parts: Option<&Parts>) -> Self {
        Self {
            policy: policy.map(Arc::new),
            client_cas: parts.and_then(Parts::sound_client_cas),
            crl_files: parts.map(Parts::crl_files).unwrap_or_default().to_vec(),
        }
    }

    /// Adds CRL files that were not read.
    pub(crate) fn add(&mut self, others: &[CrlFile]) {
        for other in others {
            if self.crl_files.iter().all(|file| file.path != other.path) {
                self.crl_files.push(other.clone());
            }
        }
    }
}

/// The valid parts since the last complete gate.
#[derive(Debug, Default)]
pub(crate) struct Held {
    policy: Option<Arc<Policy>>,
    client_cas: Option<Arc<ClientCas>>,
    crl_files: Vec<HeldCrls>,
}

/// The CRLs of one file.
#[derive(Debug)]
struct HeldCrls {
    path: PathBuf,
    /// From the last version in which all were valid.
    sound: Vec<Arc<Crl>>,
    /// The valid ones of a newer version that has invalid ones.
    rest: Vec<Arc<Crl>>,
}

impl Held {
    /// Replaces parts by their newer valid versions, and keeps the others.
    pub(crate) fn update(&mut self, newer: Sound, whole: &Gate) {
        self.policy = newer.policy.or(self.policy.take());
        self.client_cas = newer.client_cas.or(self.client_cas.take());
        let files = newer.crl_files;
        let is_named = |held: &HeldCrls| files.iter().any(|file| file.path == held.path);
        let is_sound = files.iter().all(|file| file.is_sound);
        // CRLs of files that are no longer configured apply while a configured file is invalid. A
        // configuration that names other files each time must not fill the memory.
        if is_sound || self.crl_files.len() >= MAX_CRL_FILES {
            self.crl_files.retain(is_named);
        }
        for CrlFile {
            path,
            crls,
            is_sound,
        } in files
        {
            let crls = Vec::from_iter(crls.into_iter().map(|crl| self.known(crl, whole)));
            let held = self.crl_files.iter_mut().find(|held| held.path == path);
            match held {
                Some(held) if is_sound => (held.sound, held.rest) = (crls, Vec::new()),
                Some(held) => held.rest = crls,
                None => {
                    let (sound, rest) = if is_sound {
                        (crls, Vec::new())
                    } else {
                        (Vec::new(), crls)
                    };
                    self.crl_files.push(HeldCrls { path, sound, rest });
                }
            }
        }
    }

    /// The same CRL, if it is known already: large ones are not stored twice.
    fn known(&self, crl: Arc<Crl>, whole: &Gate) -> Arc<Crl> {
        let (_, in_force) = whole.tls.trusted();
        let mut known = in_force.iter().chain(self.crls());
        let known = known.find(|known| known.is_same_as(&crl)).map(Arc::clone);
        known.unwrap_or(crl)
    }

    fn crls(&self) -> impl Iterator<Item = &Arc<Crl>> {
        let files = self.crl_files.iter();
        files.flat_map(|file| file.sound.iter().chain(&file.rest))
    }

    /// The parts that allow less than the complete gate.
    pub(crate) fn restrictions(&self, whole: &Gate) -> Restrictions {
        let (cas, crls) = whole.tls.trusted();
        let narrower_policy = |policy: &&Arc<Policy>| !policy.has_every_entry_of(&whole.policy);
        let fewer_cas = |newer: &&Arc<ClientCas>| !newer.includes(cas);
        let is_new = |crl: &&Arc<Crl>| !crls.iter().any(|known| known.is_same_as(crl));
        Restrictions {
            policy: self.policy.as_ref().filter(narrower_policy).map(Arc::clone),
            trust: TrustRestrictions {
                cas: self.client_cas.as_ref().filter(fewer_cas).map(Arc::clone),
                crls: self.crls().filter(is_new).map(Arc::clone).collect(),
            },
        }
    }
}

/// More files of CRLs than any configuration has.
const MAX_CRL_FILES: usize = 64;

/// What a gate denies although its own files allow it.
#[derive(Debug, Default)]
pub(crate) struct Restrictions {
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) trust: TrustRestrictions,
}

impl Restrictions {
    /// The parts that restrict, as logs name them.
    pub(crate) fn parts(&self) -> Vec<&'static str> {
        let policy = self.policy.as_ref().map(|_| "allow");
        let client_cas = self.trust.cas.as_ref().map(|_| "client_ca_file");
        let crls = (!self.trust.crls.is_empty()).then_some("client_crl_files");
        policy.into_iter().chain(client_cas).chain(crls).collect()
    }

    /// Whether both restrict the same, so that open connections need not be checked again.
    pub(crate) fn are_the_same_as(&self, other: &Self) -> bool {
        let (crls, others) = (&self.trust.crls, &other.trust.crls);
        let is_one_of = |crl: &Arc<Crl>, of: &[Arc<Crl>]| of.iter().any(|one| one.is_same_as(crl));
        let same_policy = match (&self.policy, &other.policy) {
            (None, None) => true,
            (Some(own), Some(others)) => {
                own.has_every_entry_of(others) && others.has_every_entry_of(own)
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_policy
            && self.trust.cas == other.trust.cas
            && crls.iter().all(|crl| is_one_of(crl, others))
            && others.iter().all(|crl| is_one_of(crl, crls))
    }
}
