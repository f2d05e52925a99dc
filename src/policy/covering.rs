//! Whether one allow entry makes another superfluous, for a warning. Decides no request.

use super::Entry;
use super::identity::IdentityPattern;
use super::service_name::ServicePattern;

impl Entry {
    /// Whether it allows everything that the other one allows, as far as their patterns show.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut identities = other.identities.iter();
        let mut services = other.services.iter();
        self.networks.cover(&other.networks)
            && identities.all(|identity| holds(&self.identities, identity, &IdentityPattern::Any))
            && services.all(|service| match service {
                ServicePattern::Exact(name) => self.grants(name),
                ServicePattern::Any | ServicePattern::Prefix(_) => {
                    holds(&self.services, service, &ServicePattern::Any)
                }
            })
    }
}

/// Whether a list holds a pattern, or the one that matches everything.
fn holds<T: PartialEq>(list: &[T], pattern: &T, any: &T) -> bool {
    list.contains(any) || list.contains(pattern)
}
