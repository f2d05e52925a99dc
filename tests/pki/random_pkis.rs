//! Random PKIs, judged by aegis, OpenSSL, GnuTLS and Go. aegis may differ from another verifier only
//! in the classes that docs/certificate-cases.md explains.
//!
//! `cargo run --example pki -- [--seed N] [--cases N] [--handshakes N] [--only NUMBER]`; `.ci/pki` runs
//! it. It makes a handshake in one of N cases. It needs openssl, certtool, Go and the binary.
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
mod frame;
mod generate;
mod handshakes;
mod judges;
mod kept;
mod keys;
mod later;
mod names;
mod random;
mod rights;
mod structure;

use std::collections::BTreeMap;
use std::iter;
use std::process::ExitCode;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use classes::{Classes, Difference};
use generate::Case;
use judges::{Bench, Verdict};
use keys::Key;

/// A case with all verdicts.
struct Judged {
    case: Case,
    aegis: Verdict,
    /// That of the running binary, if the case is in the sample.
    handshake: Option<Verdict>,
    others: [Verdict; 3],
}

impl Judged {
    /// The verdicts of the other verifiers, with their names.
    fn others(&self) -> impl Iterator<Item = (&'static str, &Verdict)> {
        OTHERS.into_iter().zip(&self.others)
    }
}

/// The others, in the order of their verdicts.
const OTHERS: [&str; 3] = ["openssl", "gnutls", "go"];

fn main() -> ExitCode {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (mut cases, mut seed, mut one_in, mut only) = (1000, seed.as_secs(), 10, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let number = arguments
            .next()
            .unwrap_or_else(|| panic!("{name} wants a number"));
        let number: u64 = number.parse().unwrap();
        match &*name {
            "--cases" => cases = number as usize,
            "--seed" => seed = number,
            "--handshakes" => one_in = number as usize,
            "--only" => only = Some(number as usize),
            other => panic!("{other} is not known; --cases, --seed, --handshakes and --only are"),
        }
    }
    Classes::read().assert_documented();
    println!("seed {seed}");
    let mut numbers: Vec<(u64, usize)> = match only {
        Some(only) => vec![(seed, only)],
        None => (0..cases).map(|number| (seed, number)).collect(),
    };
    if only.is_none() {
        numbers.extend(kept::KEPT.map(|(seed, number, _)| (seed, number)));
    }
    let judged = judge(&numbers, one_in);
    if only.is_some() {
        println!("{:#?}", judged[0].case.changes);
        print_verdicts(&judged[0]);
        return ExitCode::SUCCESS;
    }
    kept::assert_made(&judged);
    report(&judged)
}

/// Counts the handshakes, and those that differ from `aegis explain`.
fn check_handshakes(judged: &[Judged]) -> (usize, usize) {
    let (mut all, mut wrong) = (0, 0);
    for one in judged {
        let Some(handshake) = &one.handshake else {
            continue;
        };
        all += 1;
        // The detail is not in the log of every refusal.
        let reason = |error: &String| error.split(':').next().map(str::to_owned);
        if handshake.as_ref().map_err(reason) != one.aegis.as_ref().map_err(reason) {
            wrong += 1;
            println!("another verdict by handshake, {}", one.case.name());
            println!("{:?}", one.case.changes);
            print_verdicts(one);
        }
    }
    (all, wrong)
}

fn print_verdicts(judged: &Judged) {
    println!("  aegis {:?}", judged.aegis);
    println!("  handshake {:?}", judged.handshake);
    for (name, other) in judged.others() {
        println!("  {name} {other:?}");
    }
}

fn report(judged: &[Judged]) -> ExitCode {
    let (mut counts, mut failed) = (BTreeMap::new(), 0);
    let classes = Classes::read();
    let mut found: BTreeMap<(String, &str), Vec<usize>> = BTreeMap::new();
    for one in judged {
        let others = one.others().map(|(_, verdict)| verdict.is_ok());
        let verdicts: Vec<bool> = iter::once(one.aegis.is_ok()).chain(others).collect();
        *counts.entry(verdicts).or_insert(0) += 1;
        for Difference { title, class } in classes.differences(one) {
            if class.is_none() {
                failed += 1;
                println!("{title}, {}: {:?}", one.case.name(), one.case.changes);
                print_verdicts(one);
            }
            let class = class.unwrap_or("of no class that is documented");
            found
                .entry((title, class))
                .or_default()
                .push(one.case.number);
        }
    }
    println!("\naegis {}: cases", OTHERS.join(" "));
    for (verdicts, count) in counts {
        let columns = verdicts.iter().map(|good| if *good { "yes" } else { "no" });
        println!(
            "{} {count:6}",
            columns.map(|word| format!("{word:6}")).collect::<String>()
        );
    }
    let (handshakes, wrong) = check_handshakes(judged);
    let mut missing = classes.names();
    for ((title, class), cases) in &found {
        missing.remove(class);
        println!("{:5} {title}: {class} (such as {})", cases.len(), cases[0]);
    }
    for class in missing {
        println!("no case is of the class: {class}");
    }
    println!(
        "{failed} differences in {} cases are of no class that is documented",
        judged.len()
    );
    println!("{wrong} of {handshakes} handshakes differ from aegis explain");
    match failed + wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn judge(numbers: &[(u64, usize)], one_in: usize) -> Vec<Judged> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs() as i64;
    let keys = Key::all();
    let started = Instant::now();
    let cases: Vec<Case> = numbers
        .iter()
        .map(|(seed, number)| generate::case(*number, *seed, now, &keys))
        .collect();
    println!("{} cases made in {:?}", cases.len(), started.elapsed());
    let folder = tempfile::tempdir().unwrap();
    let go = judges::go(&cases, folder.path());
    println!("judged by Go after {:?}", started.elapsed());
    let threads = thread::available_parallelism().map_or(2, |threads| threads.get());
    let part = cases.len().div_ceil(threads).max(1);
    let verdicts: Vec<([Verdict; 3], Option<Verdict>)> = thread::scope(|scope| {
        let parts: Vec<_> = cases
            .chunks(part)
            .enumerate()
            .map(|(thread, cases)| {
                let bench = Bench::new(folder.path().join(thread.to_string()));
                let keys = &keys;
                scope.spawn(move || {
                    let each = cases.iter().map(|case| {
                        bench.set(case);
                        let verdicts = [bench.aegis(case), bench.openssl(case), bench.gnutls(case)];
                        let sampled = case.number.is_multiple_of(one_in);
                        (
                            verdicts,
                            sampled.then(|| bench.handshake(case, keys)).flatten(),
                        )
                    });
                    each.collect::<Vec<_>>()
                })
            })
            .collect();
        let parts = parts.into_iter().map(|part| part.join().unwrap());
        parts.flatten().collect()
    });
    println!("judged by all after {:?}", started.elapsed());
    let all = cases.into_iter().zip(verdicts).zip(go);
    all.map(
        |((case, ([aegis, openssl, gnutls], handshake)), go)| Judged {
            case,
            aegis,
            handshake,
            others: [openssl, gnutls, go],
        },
    )
    .collect()
}
