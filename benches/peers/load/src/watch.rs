//! What servers use in a time in which somebody else, or nobody, scrapes.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::procs::{machine, tree_pss, tree_run_time, tree_switches};

/// Watches the trees below each of `--servers` (numbers with commas between), `--service` and
/// `--client` for `--seconds`. Prints one JSON object.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let servers = options.text("servers")?.split(',');
    let servers: Vec<u32> = servers.map(str::parse).collect::<Result<_, _>>()?;
    let others: (u32, u32) = (options.or("service", 0)?, options.or("client", 0)?);
    let begin = Snapshot::now(&servers, others);
    thread::sleep(Duration::from_secs_f64(options.or("seconds", 1.0)?));
    let end = Snapshot::now(&servers, others);
    let each = (0..servers.len()).map(|number| {
        let (begin, end) = (&begin.servers[number], &end.servers[number]);
        format!(
            "{{\"cpu\": {:.9}, \"switches\": {}, \"pss\": {}}}",
            end.0 - begin.0,
            end.1 - begin.1,
            end.2
        )
    });
    println!(
        "{{\"seconds\": {:.6}, \"servers\": [{}], \"service_cpu\": {:.9}, \"client_cpu\": {:.9}, \
         \"own_cpu\": {:.9}, \"busy\": {:.2}, \"steal\": {:.2}}}",
        (end.at - begin.at).as_secs_f64(),
        each.collect::<Vec<_>>().join(", "),
        end.service - begin.service,
        end.client - begin.client,
        end.own - begin.own,
        end.machine.0 - begin.machine.0,
        end.machine.1 - begin.machine.1,
    );
    Ok(())
}

struct Snapshot {
    at: Instant,
    /// Seconds of run time, context switches and bytes of memory of each server.
    servers: Vec<(f64, u64, u64)>,
    service: f64,
    client: f64,
    own: f64,
    machine: (f64, f64),
}

impl Snapshot {
    fn now(servers: &[u32], (service, client): (u32, u32)) -> Self {
        let one = |&id: &u32| (tree_run_time(id), tree_switches(id), tree_pss(id));
        Self {
            at: Instant::now(),
            servers: servers.iter().map(one).collect(),
            service: tree_run_time(service),
            client: tree_run_time(client),
            own: tree_run_time(std::process::id()),
            machine: machine(),
        }
    }
}
