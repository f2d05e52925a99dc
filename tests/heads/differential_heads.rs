//! Random request heads, read by aegis, hyper, Go, nginx and HAProxy. aegis may take a request that
//! another one refuses, or does not see, only in the classes that docs/request-heads.md explains.
//!
//! `cargo run --example heads -- [--cases N] [--seed N] [--only NUMBER]`; `.ci/heads` runs it. It
//! needs Go, nginx and HAProxy. `AEGIS_BINARY` names another binary of aegis.
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
mod connect;
mod generate;
mod servers;
mod services;
#[rustfmt::skip]
mod tables;
#[path = "../../examples/demo/folder.rs"]
mod folder;
#[path = "../../examples/demo/pki.rs"]
mod pki;
#[path = "../pki/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use classes::Difference;
use connect::Seen;
use generate::Case;
use servers::{PEERS, Servers};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A case, and how aegis and the others read it.
struct Read {
    case: Case,
    aegis: Seen,
    peers: [Seen; 4],
}

/// What is kept of a case.
struct Judged {
    number: usize,
    /// Whether the first request was accepted: by aegis, and by the others.
    accepted: [bool; 5],
    asked: usize,
    differences: Vec<(servers::Peer, Option<&'static str>)>,
    /// Why the case fails.
    failure: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "aegis") {
        return aegis::cli::main(arguments);
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (mut cases, mut seed, mut only) = (50_000, seed.as_secs(), None);
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
    let servers = Servers::start().unwrap();
    if let Some(only) = only {
        let read = read(&servers, generate::case(only, seed), LONG);
        println!("{:?} {}", read.case.changes, show(&read));
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let numbers = numbers.take_while(|number| *number < cases);
        let judged = numbers.map(|number| judge(&servers, generate::case(number, seed)));
        judged.collect::<Vec<_>>()
    };
    let mut judged: Vec<Judged> = thread::scope(|scope| {
        // More than cores: some wait for a server that waits for bytes.
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(work)).collect();
        let all = threads.into_iter().map(|thread| thread.join().unwrap());
        all.flatten().collect()
    });
    judged.sort_by_key(|judged| judged.number);
    println!("{cases} cases in {:.0?}", started.elapsed());
    report(&judged)
}

/// How long a server may be quiet before it learns that no bytes follow. It suffices on an idle
/// machine; a case that fails, or that aegis was late with, is repeated with the longer one.
const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(2);

fn judge(servers: &Servers, case: Case) -> Judged {
    let read = read(servers, case, SHORT);
    let judged = compare(&read);
    match judged.failure.is_some() || gave_up(&read) {
        true => compare(&self::read(servers, read.case, LONG)),
        false => judged,
    }
}

/// Whether aegis may have given up a request, because it was not done when it learned that no bytes
/// follow: it refused nothing, and all others answered more.
fn gave_up(read: &Read) -> bool {
    let answered = read.aegis.requests.len();
    let mut peers = read.peers.iter();
    read.aegis.refusal.is_none() && peers.all(|seen| seen.requests.len() > answered)
}

fn read(servers: &Servers, case: Case, quiet: Duration) -> Read {
    Read {
        aegis: connect::aegis(servers, &case.bytes, quiet),
        peers: PEERS.map(|peer| connect::peer(servers, peer, &case.bytes, quiet)),
        case,
    }
}

fn compare(read: &Read) -> Judged {
    let Read { case, aegis, peers } = read;
    let mut judged = Judged {
        number: case.number,
        accepted: [aegis, &peers[0], &peers[1], &peers[2], &peers[3]]
            .map(|seen| !seen.requests.is_empty()),
        asked: aegis.asked,
        differences: Vec::new(),
        failure: None,
    };
    for (peer, seen) in PEERS.into_iter().zip(peers) {
        if let Some(difference) = Difference::find(aegis, peer, seen, &case.bytes) {
            let class = classes::of(&difference);
            judged.differences.push((peer, class));
            if class.is_none() {
                judged.failure = Some(format!("only in aegis, not in {peer:?}: {}", show(read)));
            }
        }
    }
    let mut all = std::iter::once(aegis).chain(peers);
    if case.changes.is_empty() && all.any(|seen| seen.requests.len() != case.requests) {
        judged.failure = Some(format!("a valid case is refused: {}", show(read)));
    }
    judged
}

fn show(read: &Read) -> String {
    let mut text = format!("case {}: {:?}", read.case.number, read.case.changes);
    let bytes = read.case.bytes.escape_ascii().to_string();
    text += &format!("\n  {}", &bytes[..bytes.len().min(3000)]);
    let names = std::iter::once("aegis".to_owned()).chain(PEERS.map(|peer| format!("{peer:?}")));
    for (name, seen) in names.zip(std::iter::once(&read.aegis).chain(&read.peers)) {
        let requests = seen.requests.join(&b", "[..]);
        let requests = requests.escape_ascii();
        text += &format!("\n  {name}: [{requests}], refusal {:?}", seen.refusal);
    }
    text
}

fn report(judged: &[Judged]) -> ExitCode {
    let mut verdicts: BTreeMap<[bool; 5], usize> = BTreeMap::new();
    let mut classes: BTreeMap<(&str, String), Vec<usize>> = BTreeMap::new();
    for one in judged {
        *verdicts.entry(one.accepted).or_default() += 1;
        for (peer, class) in &one.differences {
            let class = class.unwrap_or("not in docs/request-heads.md");
            let of_class = classes.entry((class, format!("{peer:?}"))).or_default();
            of_class.push(one.number);
        }
    }
    println!("\nthe first request is accepted by\naegis hyper go    nginx HAProxy: cases");
    for (accepted, count) in &verdicts {
        let columns = accepted.map(|accepted| if accepted { "yes  " } else { "no   " });
        println!("{}   {count:6}", columns.join(" "));
    }
    let asked: usize = judged.iter().map(|one| one.asked).sum();
    println!("\n{asked} requests were compared as a service behind aegis got them");
    println!("\nrequests that aegis sees and another one does not");
    for ((class, peer), cases) in &classes {
        println!("{:6} {peer:8} {class} (such as {})", cases.len(), cases[0]);
    }
    let failures: Vec<&String> = judged
        .iter()
        .filter_map(|one| one.failure.as_ref())
        .collect();
    for failure in failures.iter().take(20) {
        println!("\n{failure}");
    }
    println!("{} of {} cases fail", failures.len(), judged.len());
    for class in classes::missing(classes.keys().map(|(class, _)| *class)) {
        println!("no case is of the class: {class}");
    }
    match (failures.len(), asked) {
        (0, 1..) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
