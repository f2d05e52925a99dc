//! The standard metrics of a process, read at each scrape.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use procfs::FromRead as _;
use procfs::process::Stat;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::process::{Resource, getrlimit};

/// Reads `/proc/self` at each scrape, and leaves out what it cannot read.
///
/// The files are opened at the start, so that the sandbox can close `/proc`. Names and meanings are
/// those of Prometheus's client libraries.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
    stat: Option<Mutex<File>>,
    descriptors: Option<Mutex<Dir>>,
    /// Read at the start: a sandboxed process cannot.
    ticks_per_second: u64,
    page_size: u64,
}

impl Process {
    pub(super) fn started_now() -> Self {
        Self {
            started: SystemTime::now(),
            stat: File::open("/proc/self/stat").ok().map(Mutex::new),
            descriptors: open_descriptors().ok().map(Mutex::new),
            ticks_per_second: procfs::ticks_per_second(),
            page_size: procfs::page_size(),
        }
    }
}

impl Process {
    fn stat(&self) -> Option<Stat> {
        let mut file = self.stat.as_ref()?.lock();
        file.rewind().ok()?;
        Stat::from_read(&*file).ok()
    }

    /// The number of open descriptors.
    fn descriptors(&self) -> Option<usize> {
        let mut directory = self.descriptors.as_ref()?.lock();
        directory.rewind();
        let entries = directory.by_ref().filter_map(Result::ok);
        let is_descriptor = |name: &[u8]| !name.starts_with(b".");
        let open = entries.filter(|entry| is_descriptor(entry.file_name().to_bytes()));
        Some(open.count())
    }
}

fn open_descriptors() -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::new(openat(
        CWD,
        "/proc/self/fd",
        flags,
        Mode::empty(),
    )?)?)
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "Start time of the process, in seconds since the Unix epoch.";
        gauge(
            &mut encoder,
            "start_time_seconds",
            help,
            started.as_secs_f64(),
        )?;
        if let Some(stat) = self.stat() {
            let ticks = self.ticks_per_second as f64;
            let cpu = stat.utime.saturating_add(stat.stime) as f64 / ticks;
            let counter = ConstCounter::new(cpu);
            let help = "CPU time in user and system mode, in seconds.";
            let metric =
                encoder.encode_descriptor("cpu_seconds", help, None, MetricType::Counter)?;
            counter.encode(metric)?;
            let resident = stat.rss.saturating_mul(self.page_size);
            let help = "Resident memory, in bytes.";
            gauge(&mut encoder, "resident_memory_bytes", help, resident as f64)?;
            let help = "Virtual memory, in bytes.";
            gauge(
                &mut encoder,
                "virtual_memory_bytes",
                help,
                stat.vsize as f64,
            )?;
        }
        if let Some(open) = self.descriptors() {
            gauge(
                &mut encoder,
                "open_fds",
                "Open file descriptors.",
                open as f64,
            )?;
        }
        let most = getrlimit(Resource::Nofile).current;
        gauge(
            &mut encoder,
            "max_fds",
            "Maximum number of open file descriptors.",
            most.map_or(f64::INFINITY, |most| most as f64),
        )
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), fmt::Error> {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}
