//! Stub: no services, no files, no threads.

use std::io;
use std::sync::Arc;

use crate::policy::service_name::ServiceName;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth;

#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) forgotten: Vec<ServiceName>,
}

#[derive(Debug, Default)]
pub struct ServiceRegistry {
    shared: Arc<SharedServices>,
}

impl ServiceRegistry {
    pub(crate) fn shared(&self) -> &Arc<SharedServices> {
        &self.shared
    }

    pub(crate) async fn inspect(&self, _: Depth) -> Inventory {
        Inventory::default()
    }

    pub(crate) fn forget_removed(&self) -> &[ServiceName] {
        &[]
    }
}

#[derive(Debug, Default)]
pub(crate) struct SharedServices(Threads);

#[derive(Debug, Default)]
pub(crate) struct Threads;

impl SharedServices {
    pub(crate) fn closer(&self) -> &Threads {
        &self.0
    }

    pub(crate) fn files(&self) -> &Threads {
        &self.0
    }
}

impl Threads {
    pub(crate) fn start(&self) -> io::Result<()> {
        Ok(())
    }
}
