//! Services and operators that pass descriptors whose close takes an hour: no thread of aegis waits
//! for it, and other services are not affected.

use std::io::{IoSlice, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt};

use crate::harness::kernel::without_so_passrights;
use crate::harness::service::until_closed;
use crate::harness::{Aegis, Service, World, admin_socket, answer, metric, wait_until};

/// TCP connections whose sockets take an hour to close: their peers do not read.
#[derive(Clone, Default)]
struct Peers(Arc<Mutex<Vec<TcpStream>>>);

impl Peers {
    /// A socket that takes an hour to close, for the process that has its last descriptor.
    fn slow_socket(&self) -> TcpStream {
        #[expect(clippy::disallowed_methods, reason = "not aegis")]
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        #[expect(clippy::disallowed_methods, reason = "not aegis")]
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        self.0.lock().unwrap().push(listener.accept().unwrap().0);
        sockopt::set_socket_linger(&socket, Some(Duration::from_secs(3600))).unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 64 * 1024]).is_ok() {}
        socket
    }
}

/// Sends bytes with a socket, or without it if the kernel refuses to pass it.
fn pass(stream: &UnixStream, bytes: &[u8], socket: TcpStream, flags: SendFlags) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    let descriptors = [socket.as_fd()];
    assert!(along.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut along, flags);
    if sent.is_err() {
        // The socket is then closed by the test.
        sockopt::set_socket_linger(&socket, None).unwrap();
        drop((&*stream).write_all(bytes));
    }
}

/// When a service passes a descriptor.
#[derive(Clone, Copy, Debug)]
enum When {
    WithTheAnswer,
    AfterTheAnswer,
    OutOfBand,
    InsteadOfTheAnswer,
}

const ALL: [When; 4] = [
    When::WithTheAnswer,
    When::AfterTheAnswer,
    When::OutOfBand,
    When::InsteadOfTheAnswer,
];

fn descriptor_passing_service(world: &World, name: &str, peers: &Peers, when: When) -> Service {
    let peers = peers.clone();
    Service::with(&world.socket(name), move |stream| {
        let socket = peers.slow_socket();
        let whole = answer("up 1\n").into_bytes();
        let usual = SendFlags::NOSIGNAL;
        match when {
            When::WithTheAnswer => pass(stream, &whole, socket, usual),
            When::AfterTheAnswer => {
                drop(stream.write_all(&whole));
                pass(stream, b"more", socket, usual);
            }
            When::OutOfBand => {
                let out_of_band = usual | SendFlags::OOB;
                drop(stream.write_all(&whole[..20]));
                pass(stream, &whole[20..21], socket, out_of_band);
                drop(stream.write_all(&whole[21..]));
            }
            When::InsteadOfTheAnswer => pass(stream, b"HTTP/1.1 ", socket, usual),
        }
        until_closed(stream);
    })
}

/// A world with an admin socket, and with two scrapes at once for each service.
fn world() -> World {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"\n".to_owned();
    world.settings.limits = "scrapes_per_service = 2\n".to_owned();
    world
}

fn start_on_an_older_kernel(world: &World) -> Aegis {
    let config = world.write_config();
    without_so_passrights(move || Aegis::start(&config, &[]))
}

/// Scrapes each hostile service often enough to reach every thread, and a good one each time.
fn assert_nothing_blocks(world: &World, aegis: &Aegis) {
    let peers = Peers::default();
    let _good = world.service("good", answer("up 1\n"));
    for when in ALL {
        let name = format!("{when:?}").to_lowercase();
        let _hostile = descriptor_passing_service(world, &name, &peers, when);
        for _ in 0..8 {
            let impatient = "X-Prometheus-Scrape-Timeout-Seconds: 0.3\r\n";
            let connection = world.prometheus(aegis).connect();
            let mut connection = connection.unwrap();
            drop(connection.request("GET", &format!("/{name}"), impatient));
            let scraped = world.prometheus(aegis).get("/good");
            assert_eq!(scraped.status, 200, "{when:?}");
        }
    }
    let healthy = admin_socket::request(&world.path("admin.sock"), "GET", "/-/healthy", "");
    assert_eq!(healthy.status, 200);
}

fn so_passrights_metric(world: &World, aegis: &Aegis) -> Option<f64> {
    let own = world.prometheus(aegis).get("/metrics").text();
    metric(&own, r#"aegis_sandbox_active{kind="so_passrights"}"#)
}

#[test]
fn a_passed_socket_that_is_slow_to_close_blocks_nothing() {
    let world = world();
    let aegis = world.start();
    assert_nothing_blocks(&world, &aegis);
}

#[test]
fn a_passed_socket_blocks_nothing_on_older_kernels() {
    let world = world();
    let aegis = start_on_an_older_kernel(&world);
    assert_eq!(so_passrights_metric(&world, &aegis), Some(0.0));
    assert_nothing_blocks(&world, &aegis);
}

#[test]
fn on_older_kernels_passing_descriptors_fails_the_scrape_and_holds_its_permits() {
    let world = world();
    let aegis = start_on_an_older_kernel(&world);
    let peers = Peers::default();
    let _hostile = descriptor_passing_service(&world, "hostile", &peers, When::WithTheAnswer);
    let scrape = || {
        let answer = world.prometheus(&aegis).get("/hostile");
        (
            answer.status,
            answer.header("Aegis-Reason").unwrap().to_owned(),
        )
    };
    assert_eq!(scrape(), (502, "malformed".to_owned()));
    aegis.logged(&["malformed", "the peer passed file descriptors"]);
    // Each connection that is still closing keeps its permit. (Sometimes the service has the last
    // descriptor, and waits instead of aegis.)
    wait_until(|| scrape() == (503, "busy".to_owned()));
}

#[test]
fn on_older_kernels_a_closed_service_regains_its_permits() {
    let world = world();
    let aegis = start_on_an_older_kernel(&world);
    let peers = Peers::default();
    let reason = |service: &str| {
        let answer = world.prometheus(&aegis).get(service);
        answer.header("Aegis-Reason").unwrap().to_owned()
    };
    let _hostile = descriptor_passing_service(&world, "hostile", &peers, When::WithTheAnswer);
    wait_until(|| reason("/hostile") == "busy");
    // As a shell script may: it answers without reading the request, and closes.
    let listener = UnixListener::bind(world.socket("script")).unwrap();
    let script = move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            drop(stream.write_all(answer("up 1\n").as_bytes()));
        }
    };
    std::thread::spawn(script);
    for _ in 0..8 {
        assert_eq!(world.prometheus(&aegis).get("/script").text(), "up 1\n");
    }
}

#[test]
fn on_older_kernels_ordinary_services_keep_their_concurrency() {
    let mut world = world();
    world.settings.limits = "scrapes_per_service = 1\n".to_owned();
    let aegis = start_on_an_older_kernel(&world);
    let _good = world.service("good", answer("up 1\n"));
    let mut connection = world.prometheus(&aegis).connect().unwrap();
    for _ in 0..400 {
        assert_eq!(connection.get("/good").unwrap().text(), "up 1\n");
        assert_eq!(connection.request("HEAD", "/good", "").unwrap().status, 200);
    }
}

#[test]
fn a_socket_passed_to_the_admin_socket_blocks_nothing() {
    let world = world();
    let peers = Peers::default();
    let admin = world.path("admin.sock");
    for start in [World::start, start_on_an_older_kernel] {
        let aegis = start(&world);
        let kept: Vec<UnixStream> = (0..4).map(|_| pass_to(&admin, &peers)).collect();
        let healthy = admin_socket::request(&admin, "GET", "/-/healthy", "");
        assert_eq!(healthy.status, 200);
        drop((kept, aegis));
    }
}

/// Connects to the admin socket and passes a socket with half a request.
fn pass_to(admin: &Path, peers: &Peers) -> UnixStream {
    #[expect(clippy::disallowed_methods, reason = "the operator's side")]
    let stream = UnixStream::connect(admin).unwrap();
    let (passing, socket) = (stream.try_clone().unwrap(), peers.slow_socket());
    // If aegis closes it first, this thread has the last descriptor, and waits instead of aegis.
    std::thread::spawn(move || pass(&passing, b"GET /", socket, SendFlags::NOSIGNAL));
    stream
}

#[test]
fn on_older_kernels_shutdown_does_not_wait_for_slow_sockets_in_the_backlog() {
    let world = world();
    let peers = Peers::default();
    let admin = world.path("admin.sock");
    let mut aegis = start_on_an_older_kernel(&world);
    // The maximum number of connections, and some that wait.
    let kept: Vec<UnixStream> = (0..20).map(|_| pass_to(&admin, &peers)).collect();
    aegis.signal(rustix::process::Signal::TERM);
    assert_eq!(aegis.wait_for_exit().code(), Some(0));
    drop(kept);
}
