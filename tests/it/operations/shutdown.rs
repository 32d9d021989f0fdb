//! The real program's end, and its log files.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::harness::Reply;
use crate::harness::client::PATIENCE;
use crate::harness::process::{Process, until};

/// An upstream that answers its one request when it is told to.
struct Slow {
    url: String,
    asked: oneshot::Receiver<()>,
    answer: oneshot::Sender<()>,
}

impl Slow {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ((tell, asked), (answer, told)) = (oneshot::channel(), oneshot::channel::<()>());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            tell.send(()).unwrap();
            if told.await.is_ok() {
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";
                stream.write_all(reply).await.unwrap();
            }
        });
        Self { url, asked, answer }
    }

    /// Behind an open route of a gateway that drains as told; a request to it is in flight.
    async fn in_flight(self, drain: &str) -> (Process, JoinHandle<Reply>, oneshot::Sender<()>) {
        let process = Process::plain(&format!(
            "[process]\n{drain}\n[[upstream]]\nname = \"u\"\nservers = [\"{}\"]\n\
             [[route]]\npath = \"/\"\nupstream = \"u\"\nauth = []",
            self.url
        ));
        let client = process.client();
        let reply = tokio::spawn(async move { client.get("/slow").send().await });
        tokio::time::timeout(PATIENCE, self.asked).await.unwrap().unwrap();
        (process, reply, self.answer)
    }
}

const ECHO: &str = "[[upstream]]\nname = \"u\"\nservers = [\"builtin:echo\"]\n\
                    [[route]]\npath = \"/\"\nupstream = \"u\"\nauth = []\n";

/// Reads until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let reading = stream.read_to_end(&mut read);
    tokio::time::timeout(PATIENCE, reading).await.expect("it is closed").unwrap();
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_told_to_load_balancers_before_the_door_is_closed() {
    let slow = Slow::start().await;
    let drain = "drain_delay = \"2s\"\ndrain_timeout = \"30s\"";
    let (mut process, reply, answer) = slow.in_flight(drain).await;
    process.client().get("/healthz").send().await.assert_status(200);

    process.signal("TERM");

    let since = Instant::now();
    while process.client().get("/healthz").send().await.status != 503 {
        assert!(since.elapsed() < PATIENCE, "healthy: {}", process.stderr());
    }
    until("closed", || std::net::TcpStream::connect(("127.0.0.1", process.port)).err());
    assert!(!reply.is_finished(), "what is in flight is waited for");
    answer.send(()).unwrap();
    assert_eq!(reply.await.unwrap().assert_status(200).text(), "late");
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    assert!(!process.stderr().contains("are cut"), "{}", process.stderr());
    assert!(!process.path("state/admin.sock").exists());
}

#[tokio::test]
async fn an_interrupt_drains_too_and_closes_an_idle_connection() {
    let mut process = Process::plain(&format!(
        "[process]\ndrain_delay = \"0s\"\ndrain_timeout = \"30s\"\n{ECHO}"
    ));
    let mut stream = TcpStream::connect(("127.0.0.1", process.port)).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);

    process.signal("INT");

    assert_eq!(rest(&mut stream).await, "", "closed without a word");
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_waited_for_as_long_as_drain_timeout_says() {
    let slow = Slow::start().await;
    let drain = "drain_delay = \"0s\"\ndrain_timeout = \"1s\"";
    let (mut process, reply, _answer) = slow.in_flight(drain).await;

    let since = Instant::now();
    process.signal("TERM");

    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    assert!(since.elapsed() >= Duration::from_secs(1), "not before its time");
    assert!(process.stderr().contains("still open are cut"), "{}", process.stderr());
    reply.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let slow = Slow::start().await;
    let drain = "drain_delay = \"60s\"\ndrain_timeout = \"60s\"";
    let (mut process, reply, _answer) = slow.in_flight(drain).await;
    process.signal("TERM");
    process.wait_for_stderr("draining");

    let since = Instant::now();
    process.signal("INT");

    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    assert!(since.elapsed() < Duration::from_secs(10), "took {:?}", since.elapsed());
    process.wait_for_stderr("stopped before everything was drained");
    reply.abort();
}

/// By default both kill without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigquit_killed_and_sigusr2_did_too() {
    let slow = Slow::start().await;
    let drain = "drain_delay = \"60s\"\ndrain_timeout = \"60s\"";
    let (mut process, reply, _answer) = slow.in_flight(drain).await;

    process.signal("USR2");
    process.client().get("/healthz").send().await.assert_status(200);
    // Health checks have no access line.
    process.client().get("/.well-known/jwks.json").send().await.assert_status(200);
    let since = Instant::now();
    process.signal("QUIT");

    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    assert!(since.elapsed() < Duration::from_secs(10), "took {:?}", since.elapsed());
    process.wait_for_stderr("ending at once");
    assert!(!process.path("state/admin.sock").exists(), "tidied up");
    assert!(!process.stdout().is_empty(), "the log has its lines");
    reply.abort();
}

/// The lines of a log file, once it has one with `part`.
#[track_caller]
fn lines(path: &Path, part: &str) -> Vec<Value> {
    let text = until(&format!("{part} in {}", path.display()), || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        (text.contains(part) && text.ends_with('\n')).then_some(text)
    });
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test]
async fn log_lines_end_up_in_files_which_a_signal_opens_anew() {
    let logs = "[log]\naccess = \"access.log\"\naudit = \"audit.log\"\n\
                [process]\ndrain_delay = \"0s\"\n";
    let mut process = Process::plain(&format!("{logs}{ECHO}"));
    let (access, audit) = (process.path("access.log"), process.path("audit.log"));
    let token = process.token("alice").await;
    process.client().get("/before").send().await.assert_status(200);
    assert_eq!(lines(&access, "\"/before\"").len(), 2, "one line a request");
    assert_eq!(lines(&audit, "logged_in")[0]["user.name"], "alice");

    for log in [&access, &audit] {
        std::fs::rename(log, log.with_extension("1")).unwrap();
    }
    process.signal("USR1");
    until("opened anew", || (access.exists() && audit.exists()).then_some(()));
    process.client().get("/after").send().await.assert_status(200);
    process.token("bob").await;
    process.signal("TERM");

    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    assert_eq!(lines(&access, "\"/after\"").len(), 2);
    assert_eq!(lines(&audit, "logged_in")[0]["user.name"], "bob");
    let old = std::fs::read_to_string(access.with_extension("1")).unwrap();
    assert!(!old.contains("/after"), "{old}");
    for text in [process.stdout(), process.stderr(), old] {
        assert!(!text.contains(&token), "no credential is written anywhere");
    }
    assert_eq!(process.stdout(), "", "the lines are in their files only");
}

#[tokio::test]
async fn a_drain_writes_every_line_before_it_ends() {
    let mut process = Process::plain(&format!("[process]\ndrain_delay = \"0s\"\n{ECHO}"));
    for number in 0..20 {
        process.client().get(&format!("/{number}")).send().await.assert_status(200);
    }

    process.signal("TERM");

    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    let told = process.stdout();
    assert_eq!(told.lines().count(), 20, "{told}");
}

#[test]
fn signals_do_what_they_should_from_the_first_connection_on() {
    for signal in ["HUP", "USR1"] {
        let process = Process::plain(&format!("[process]\ndrain_delay = \"0s\"\n{ECHO}"));

        process.signal(signal);
        let mut process = process;
        process.signal("TERM");

        assert_eq!(process.wait(), Some(0), "{signal}: {}", process.stderr());
    }
}

#[test]
fn sigterm_drains_and_ends_with_zero() {
    let mut gateway = Process::sample();
    let password = gateway.first_password();
    assert!(!password.is_empty());

    gateway.signal("TERM");

    assert_eq!(gateway.wait(), Some(0), "{}", gateway.stderr());
    assert!(std::net::TcpStream::connect(("127.0.0.1", gateway.port)).is_err());
}

/// The status of `GET /healthz`, if anybody answers.
fn health(port: u16) -> Option<String> {
    let url = format!("https://127.0.0.1:{port}/healthz");
    let asked = std::process::Command::new("curl")
        .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])
        .output()
        .unwrap();
    asked.status.success().then(|| String::from_utf8(asked.stdout).unwrap())
}

#[test]
fn health_says_503_before_the_listeners_close_and_a_second_signal_ends_at_once() {
    let mut gateway = Process::sample_with("drain_delay = \"0s\"", "drain_delay = \"1h\"");
    assert_eq!(health(gateway.port).as_deref(), Some("200"));

    gateway.signal("TERM");

    let patience = Instant::now();
    while health(gateway.port).as_deref() != Some("503") {
        assert!(patience.elapsed() < Duration::from_secs(20), "{}", gateway.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0), "an hour's delay is not waited for");
}
