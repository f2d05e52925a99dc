//! Stub: a gate is a number, whether it still trusts the scraper's certificate, and its policy.

use std::sync::Arc;

use crate::config::Limits;
use crate::policy::Policy;
use crate::services::ServiceRegistry;

#[derive(Debug)]
pub struct Gate {
    /// Later gates have greater numbers.
    pub(crate) number: u8,
    pub(crate) trust: Trust,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) services: Arc<ServiceRegistry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Valid,
    Revoked,
}

impl Gate {
    /// A gate that allows everything.
    pub(crate) fn open(number: u8) -> Self {
        Self {
            number,
            trust: Trust::Valid,
            policy: Policy::Grants,
            limits: Limits::WIDE,
            services: Arc::default(),
        }
    }

    pub(crate) fn restrictions(&self) -> Restrictions {
        Restrictions(self.trust)
    }

    pub(crate) fn trust_has_expired(&self) -> bool {
        false
    }
}

pub(crate) struct Restrictions(Trust);

impl Restrictions {
    pub(crate) fn parts(&self) -> Vec<&'static str> {
        match self.0 {
            Trust::Valid => Vec::new(),
            Trust::Revoked => vec!["client_crl_files"],
        }
    }
}
