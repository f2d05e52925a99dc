//! The standard metrics of a process, read when they are asked for.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use procfs::process::{self, LimitValue};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self` at each scrape; what cannot be read is left out.
///
/// The names and meanings are those that Prometheus's client libraries share.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
    /// Of the kernel, which a confined process of no privilege can no longer ask.
    ticks_per_second: u64,
    page_size: u64,
}

impl Process {
    pub(super) fn started_now() -> Self {
        Self {
            started: SystemTime::now(),
            ticks_per_second: procfs::ticks_per_second(),
            page_size: procfs::page_size(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the process started, in seconds since the Unix epoch.";
        gauge(
            &mut encoder,
            "start_time_seconds",
            help,
            started.as_secs_f64(),
        )?;
        let Ok(this) = process::Process::myself() else {
            return Ok(());
        };
        if let Ok(stat) = this.stat() {
            let ticks = self.ticks_per_second as f64;
            let cpu = stat.utime.saturating_add(stat.stime) as f64 / ticks;
            let counter = ConstCounter::new(cpu);
            let help = "Processor time in user and system mode, in seconds.";
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
        if let Ok(open) = this.fd_count() {
            gauge(
                &mut encoder,
                "open_fds",
                "Open file descriptors.",
                open as f64,
            )?;
        }
        if let Ok(limits) = this.limits() {
            let most = match limits.max_open_files.soft_limit {
                LimitValue::Value(most) => most as f64,
                LimitValue::Unlimited => f64::INFINITY,
            };
            gauge(
                &mut encoder,
                "max_fds",
                "The most file descriptors that may be open.",
                most,
            )?;
        }
        Ok(())
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
