//! A limit: copies between TCP and a Unix socket in one thread, without parsing or encryption.

use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use rustix::event::epoll::EventFlags;

use crate::Options;
use crate::ready::Ready;

/// Copies between each connection to `--listen` and a new connection to `--unix`.
pub(crate) fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(options.text("listen")?)?;
    let service = options.text("unix")?;
    let ready = Ready::new()?;
    ready.add(&listener, LISTENER, EventFlags::IN)?;
    let mut pairs: HashMap<u64, (TcpStream, UnixStream)> = HashMap::new();
    let mut buffer = vec![0; 64 << 10];
    let mut next = 1;
    let mut numbers = Vec::new();
    loop {
        ready.wait(&mut numbers)?;
        for &number in &numbers {
            if number == LISTENER {
                let (scraper, _) = listener.accept()?;
                scraper.set_nodelay(true)?;
                let service = UnixStream::connect(service)?;
                ready.add(&scraper, next * 2, EventFlags::IN)?;
                ready.add(&service, next * 2 + 1, EventFlags::IN)?;
                pairs.insert(next, (scraper, service));
                next += 1;
                continue;
            }
            let Some((scraper, service)) = pairs.get_mut(&(number / 2)) else {
                continue;
            };
            // Blocking writes: the other side always reads.
            let copied = match number % 2 {
                0 => scraper
                    .read(&mut buffer)
                    .and_then(|n| service.write_all(&buffer[..n]).map(|()| n)),
                _ => service
                    .read(&mut buffer)
                    .and_then(|n| scraper.write_all(&buffer[..n]).map(|()| n)),
            };
            match copied {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => drop(pairs.remove(&(number / 2))),
            }
        }
    }
}

const LISTENER: u64 = 0;
