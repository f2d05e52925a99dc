//! The readiness of many descriptors in one thread, for the service and the relay.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// An epoll instance; each descriptor is known by a number.
pub(crate) struct Ready(OwnedFd);

impl Ready {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    pub(crate) fn add(
        &self,
        descriptor: impl AsFd,
        number: u64,
        flags: EventFlags,
    ) -> io::Result<()> {
        let data = EventData::new_u64(number);
        Ok(epoll::add(&self.0, descriptor, data, flags)?)
    }

    pub(crate) fn change(
        &self,
        descriptor: impl AsFd,
        number: u64,
        flags: EventFlags,
    ) -> io::Result<()> {
        let data = EventData::new_u64(number);
        Ok(epoll::modify(&self.0, descriptor, data, flags)?)
    }

    /// Waits, and fills `numbers` with the descriptors that are ready.
    pub(crate) fn wait(&self, numbers: &mut Vec<u64>) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        match epoll::wait(&self.0, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        numbers.clear();
        numbers.extend(events.iter().map(|event| event.data.u64()));
        Ok(())
    }
}
