//! Models of what the threads of aegis share: runs aegis's own files under many schedules.
//! README.md says how, and what is real here.
//!
//! usage: aegis-models [--schedules COUNT] [--seed NUMBER] [MODEL...]
//!
//! Runs each model with COUNT random schedules, and with COUNT schedules of two preemptions (PCT). The
//! same seed makes the same schedules.

#![expect(
    dead_code,
    unused_imports,
    reason = "the models need less than all of the files"
)]

// For aegis's files, this crate is tokio: channels, semaphores and tasks of shuttle, and our own clock.
extern crate self as tokio;
use shuttle_tokio::{select, sync, task};

mod config;
mod gate;
mod http;
mod io;
mod models;
mod policy;
mod refusal;
mod runtime;
mod scrape;
mod server;
mod services;
mod state;
mod telemetry;
mod text;
mod time;
mod wire;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

use models::{MODELS, Model};

struct Arguments {
    schedules: usize,
    seed: u64,
    models: Vec<&'static Model>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut arguments = Self {
            schedules: 20_000,
            seed: 1,
            models: Vec::new(),
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--schedules" => arguments.schedules = words.next()?.parse().ok()?,
                "--seed" => arguments.seed = words.next()?.parse().ok()?,
                name => {
                    let model = MODELS.iter().find(|model| model.name == name)?;
                    arguments.models.push(model);
                }
            }
        }
        if arguments.models.is_empty() {
            arguments.models = MODELS.iter().collect();
        }
        Some(arguments)
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        eprintln!("usage: aegis-models [--schedules COUNT] [--seed NUMBER] [MODEL...]");
        eprintln!("models: {}", names.join(" "));
        return ExitCode::from(2);
    };
    let next = AtomicUsize::new(0);
    let run_all = || {
        while let Some(model) = arguments.models.get(next.fetch_add(1, Ordering::SeqCst)) {
            run(model, &arguments);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // A failed model panics, and so does the scope.
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(run_all))));
    ExitCode::SUCCESS
}

fn run(model: &Model, arguments: &Arguments) {
    let Arguments {
        schedules, seed, ..
    } = *arguments;
    let begun = Instant::now();
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    let random = RandomScheduler::new_from_seed(seed, schedules);
    Runner::new(random, config.clone()).run(model.run);
    let few_preemptions = PctScheduler::new_from_seed(seed, PCT_DEPTH, schedules);
    Runner::new(few_preemptions, config).run(model.run);
    let seconds = begun.elapsed().as_secs_f64();
    let Model { name, .. } = model;
    println!("{name:46} {:7} schedules {seconds:5.1} s", 2 * schedules);
}

/// Enough without optimization.
const STACK_BYTES: usize = 256 * 1024;
/// More than any schedule needs that ends.
const MAX_STEPS: usize = 100_000;
/// Two threads are preempted at random steps. More would make each bug that needs fewer harder to hit.
const PCT_DEPTH: usize = 3;
