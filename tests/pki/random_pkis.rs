//! Random PKIs, judged by aegis, OpenSSL and Go. aegis may accept what both others refuse only in
//! the classes that docs/certificate-cases.md explains.
//!
//! `cargo run --example pki -- [--cases N] [--seed N] [--only NUMBER]`; `.ci/pki` runs it. It needs
//! openssl and Go.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and says why"
)]

mod classes;
mod crls;
mod der;
mod extensions;
mod generate;
mod judges;
mod names;
mod random;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use der::Key;
use generate::Case;
use judges::{Bench, Verdict};

struct Judged {
    case: Case,
    aegis: Verdict,
    openssl: Verdict,
    go: Verdict,
}

fn main() -> ExitCode {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (mut cases, mut seed, mut only) = (5000, seed.as_secs(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let number = arguments
            .next()
            .unwrap_or_else(|| panic!("{name} wants a number"));
        let number: u64 = number.parse().unwrap();
        match &*name {
            "--cases" => cases = number as usize,
            "--seed" => seed = number,
            "--only" => only = Some(number as usize),
            other => panic!("{other} is not known; --cases, --seed and --only are"),
        }
    }
    classes::assert_documented();
    println!("seed {seed}");
    let numbers = only.map_or(0..cases, |only| only..only + 1);
    let judged = judge(numbers.collect(), seed);
    if only.is_some() {
        let Judged {
            case,
            aegis,
            openssl,
            go,
        } = &judged[0];
        println!(
            "{:#?}\naegis {aegis:?}\nopenssl {openssl:?}\ngo {go:?}",
            case.changes
        );
        return ExitCode::SUCCESS;
    }
    report(&judged)
}

fn judge(numbers: Vec<usize>, seed: u64) -> Vec<Judged> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs() as i64;
    let keys: Vec<Key> = (0..8).map(Key::generate).collect();
    let started = Instant::now();
    let cases: Vec<Case> = numbers
        .iter()
        .map(|number| generate::case(*number, seed, now, &keys))
        .collect();
    println!("{} cases made in {:?}", cases.len(), started.elapsed());
    let folder = tempfile::tempdir().unwrap();
    let go = judges::go(&cases, folder.path());
    println!("judged by Go after {:?}", started.elapsed());
    let threads = thread::available_parallelism().map_or(2, |threads| threads.get());
    let part = cases.len().div_ceil(threads).max(1);
    let verdicts: Vec<(Verdict, Verdict)> = thread::scope(|scope| {
        let parts: Vec<_> = cases
            .chunks(part)
            .enumerate()
            .map(|(thread, cases)| {
                let bench = Bench::new(folder.path().join(thread.to_string()));
                scope.spawn(move || {
                    let each = cases.iter().map(|case| {
                        bench.set(case);
                        (bench.aegis(case), bench.openssl(case))
                    });
                    each.collect::<Vec<_>>()
                })
            })
            .collect();
        let parts = parts.into_iter().map(|part| part.join().unwrap());
        parts.flatten().collect()
    });
    println!("judged by aegis and OpenSSL after {:?}", started.elapsed());
    let all = cases.into_iter().zip(verdicts).zip(go);
    all.map(|((case, (aegis, openssl)), go)| Judged {
        case,
        aegis,
        openssl,
        go,
    })
    .collect()
}

fn report(judged: &[Judged]) -> ExitCode {
    let (mut counts, mut failed) = (BTreeMap::new(), 0);
    let mut classes: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for one in judged {
        let verdicts = [&one.aegis, &one.openssl, &one.go].map(|verdict| verdict.is_ok());
        *counts.entry(verdicts).or_insert(0) += 1;
        let (side, class) = match verdicts {
            [true, false, false] => ("accepted by aegis alone", classes::accepted(one)),
            [false, true, true] => ("refused by aegis alone", classes::refused(one)),
            _ => continue,
        };
        if class.is_none() {
            failed += 1;
            println!("{side}, case {}: {:?}", one.case.number, one.case.changes);
            println!(
                "  aegis {:?}\n  openssl {:?}\n  go {:?}",
                one.aegis, one.openssl, one.go
            );
        }
        let class = class.unwrap_or("not in docs/certificate-cases.md");
        classes
            .entry((side, class))
            .or_default()
            .push(one.case.number);
    }
    println!("\naegis openssl go: cases");
    for ([aegis, openssl, go], count) in counts {
        let columns = [aegis, openssl, go].map(|good| if good { "yes" } else { "no" });
        println!(
            "{:5} {:7} {:3} {count:6}",
            columns[0], columns[1], columns[2]
        );
    }
    for ((side, class), cases) in &classes {
        println!("{:5} {side}: {class} (such as {})", cases.len(), cases[0]);
    }
    println!(
        "{failed} of {} cases are of no class that is documented",
        judged.len()
    );
    for class in classes::missing(judged) {
        println!("no case is of the class: {class}");
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
