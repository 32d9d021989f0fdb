//! The gateway as a service: the messages that systemd reads, and the unit that it starts.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::Client;
use crate::harness::client::PATIENCE;
use crate::harness::process::{copy_program, folder, root, run_in, tollhouse, until, write_config};

/// `nobody` of most systems; the number needs no account.
const STRANGER: u32 = 65_534;
/// The name of a copy of the program that everybody may run.
const COPY: &str = "tollhouse-for-all";
/// A process that this starts is not found by those outside, and the other way round.
const APART: &[&str] = &["unshare", "--pid", "--fork", "--mount-proc"];

/// `program` as another user, who is gone with its parent; `before` are the words before that.
fn stranger(before: &[&str], program: &Path) -> Command {
    let user = STRANGER.to_string();
    let user = ["setpriv", "--pdeathsig", "KILL", "--reuid", &user, "--regid", &user];
    let words = [before, &user, &["--clear-groups"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(program).env_remove("TOLLHOUSE_CONFIG").stdin(Stdio::null());
    command
}

const PROCESS: &str = "[process]\ndrain_delay = \"0s\"\n";

/// A gateway that reports to `messages`, as systemd would start it.
struct Service {
    child: Child,
    messages: UnixDatagram,
    dir: tempfile::TempDir,
    port: u16,
}

impl Service {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(sections: &str) -> Self {
        let (dir, port) = folder(&format!("{PROCESS}{sections}"));
        Self::start_by(tollhouse(), dir, port)
    }

    /// Starts it as another user, by a copy of the program; `before` are the words before that.
    fn start_as_stranger(before: &[&str]) -> Self {
        let (dir, port) = folder(PROCESS);
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for path in [dir.path(), &dir.path().join("users.toml")] {
            chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
        }
        copy_program(&dir.path().join(COPY));
        let command = stranger(before, &dir.path().join(COPY));
        Self::start_by(command, dir, port)
    }

    fn start_by(mut command: Command, dir: tempfile::TempDir, port: u16) -> Self {
        let socket = dir.path().join("notify.sock");
        let messages = UnixDatagram::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
        messages.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let log = std::fs::File::create(dir.path().join("stderr")).unwrap();
        command.current_dir(dir.path()).stdout(log.try_clone().unwrap()).stderr(log);
        // Half a second between two signs of life.
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "1000000");
        Self { child: command.spawn().unwrap(), messages, dir, port }
    }

    /// The next message that has `part`. Messages before it are passed over.
    fn until(&self, part: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.messages.recv(&mut buffer).expect("a message in time");
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if message.contains(part) {
                return message;
            }
        }
    }

    /// All messages from now on. The queue of a socket is short, so they are read as they come.
    fn record(&self) -> Arc<Mutex<Vec<String>>> {
        let (socket, record) = (self.messages.try_clone().unwrap(), Arc::default());
        let messages: Arc<Mutex<Vec<String>>> = Arc::clone(&record);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                messages.lock().unwrap().push(message);
            }
        });
        record
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end() {
    let mut service = Service::start();
    let ready = service.until("READY=1");
    assert!(ready.contains("STATUS=serving"), "{ready}");
    std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    for _ in 0..3 {
        service.until("WATCHDOG=1");
    }

    let before = monotonic_micros();
    service.signal("HUP");
    let reloading = service.until("RELOADING=1");
    // With `Type=notify-reload` an older time would count as that of an earlier reload.
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let time: i64 = time.expect(&reloading).parse().unwrap();
    assert!((before..=monotonic_micros()).contains(&time), "{reloading}");
    assert!(service.until("READY=1").contains("STATUS=serving\n"));

    write_config(service.dir.path(), service.port, "[process]\nworkers = \"none\"\n");
    service.signal("HUP");
    service.until("RELOADING=1");
    // The gateway goes on under the last configuration.
    service.until("READY=1");

    service.signal("TERM");
    service.until("STOPPING=1");
    assert!(service.child.wait().unwrap().success());
}

/// systemd takes `RELOADING=1` for the answer to a reload of its own: a message that it did not wait for
/// would end that one too early.
#[tokio::test]
async fn a_service_manager_hears_of_a_reload_only_where_it_asked_for_one() {
    let watch = "[reload]\nwatch = true\n";
    let mut service = Service::start_with(watch);
    service.until("READY=1");
    let messages = service.record();
    let route = |path: &str| {
        format!(
            "{PROCESS}{watch}[[upstream]]\nname = \"u\"\nservers = [\"builtin:echo\"]\n\
             [[route]]\npath = \"{path}\"\nupstream = \"u\"\nauth = []\n"
        )
    };
    let client = Client::plain(([127, 0, 0, 1], service.port).into());

    // By a command.
    write_config(service.dir.path(), service.port, &route("/command"));
    run_in(service.dir.path(), &["reload"], "").ok();
    client.get("/command").send().await.assert_status(200);
    // By the files themselves.
    write_config(service.dir.path(), service.port, &route("/watched"));
    let since = std::time::Instant::now();
    while client.get("/watched").send().await.status != 200 {
        assert!(since.elapsed() < PATIENCE, "the file is looked at");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // By a takeover.
    let mut command = tollhouse();
    let log = std::fs::File::create(service.dir.path().join("stderr.next")).unwrap();
    command.args(["run", "--takeover"]).current_dir(service.dir.path());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let next = command.spawn().unwrap();
    let mut old = std::mem::replace(&mut service.child, next);
    assert!(old.wait().unwrap().success());
    let count = |part: &str| {
        let messages = messages.lock().unwrap();
        messages.iter().filter(|message| message.contains(part)).count()
    };
    until("the successor is ready", || (count("READY=1") == 1).then_some(()));
    assert_eq!(count("RELOADING"), 0, "{messages:?}");

    service.signal("HUP");

    until("the reload is over", || (count("READY=1") == 2).then_some(()));
    assert_eq!(count("RELOADING"), 1, "{messages:?}");
}

fn monotonic_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// systemd would end the service if it heard of an end, or if nobody said which process goes on.
#[test]
fn a_service_manager_is_told_of_the_successor_which_goes_on_to_speak_to_it() {
    let mut service = Service::start();
    service.until("READY=1");
    let messages = service.record();
    let recorded = || messages.lock().unwrap().clone();
    let count = |part: &str| recorded().iter().filter(|one| one.contains(part)).count();

    // It was not started by the service manager, and does not know its socket.
    let mut command = tollhouse();
    let log = std::fs::File::create(service.dir.path().join("stderr.next")).unwrap();
    command.args(["run", "--takeover"]).current_dir(service.dir.path());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let next = command.spawn().unwrap();
    let main_process = format!("MAINPID={}\n", next.id());
    let mut old = std::mem::replace(&mut service.child, next);
    until("the successor is ready", || (count("READY=1") == 1).then_some(()));

    let until_ready = recorded();
    assert!(until_ready.contains(&main_process), "{until_ready:?}");
    assert_eq!(count("STOPPING"), 0, "{until_ready:?}");
    assert!(old.wait().unwrap().success());
    let before = recorded().len();
    until("signs of life", || (recorded().len() >= before + 3).then_some(()));
    let since = recorded().split_off(until_ready.len());
    assert!(since.iter().all(|one| one == "WATCHDOG=1\n"), "from the successor: {since:?}");
    std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    service.signal("TERM");
    until("its end", || (count("STOPPING=1") == 1).then_some(()));
    assert!(service.child.wait().unwrap().success());
}

/// Whether a process is of the service is told by its control groups. A process that cannot be found at
/// all is outside, too.
#[test]
fn only_a_process_of_the_service_takes_it_over() {
    let can_be_apart = stranger(APART, Path::new("true")).status();
    // Root may tell systemd of any process; so no other user can be tried.
    if !rustix::process::geteuid().is_root() || !can_be_apart.is_ok_and(|ended| ended.success()) {
        return;
    }
    let successor = |service: &Service| {
        let mut command = stranger(&[], &service.dir.path().join(COPY));
        command.args(["run", "--takeover"]).current_dir(service.dir.path());
        command
    };

    let service = Service::start_as_stranger(APART);
    service.until("READY=1");
    let messages = service.record();
    let refused = successor(&service).output().unwrap();

    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("keeps its sockets: it is a service of systemd"), "{told}");
    assert!(told.contains("outside of the service") && told.contains("tollhouse.socket"), "{told}");
    std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    let count = || messages.lock().unwrap().len();
    let before = count();
    until("signs of life", || (count() >= before + 2).then_some(()));
    let messages = messages.lock().unwrap().clone();
    assert!(messages.iter().all(|message| message == "WATCHDOG=1\n"), "{messages:?}");

    let mut service = Service::start_as_stranger(&[]);
    service.until("READY=1");
    let log = std::fs::File::create(service.dir.path().join("stderr.next")).unwrap();
    let next = successor(&service).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let mut old = std::mem::replace(&mut service.child, next);
    service.until(&format!("MAINPID={}\n", service.child.id()));
    service.until("READY=1");
    assert!(old.wait().unwrap().success());
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_confines() {
    // `verify` wants the program to be there, and does not run it.
    let tree = tempfile::tempdir().unwrap();
    let units = tree.path().join("etc/systemd/system");
    let programs = tree.path().join("usr/bin");
    std::fs::create_dir_all(&units).unwrap();
    std::fs::create_dir_all(&programs).unwrap();
    let program = programs.join("tollhouse");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let deploy = root().join("deploy/systemd");
    for name in ["tollhouse.service", "tollhouse.socket"] {
        std::fs::copy(deploy.join(name), units.join(name)).unwrap();
    }

    let verify = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], tree.path());
    assert!(verify.0, "{}", verify.1);
    // The threshold is in tenths: 2.0 is the goal.
    let security = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let confined = systemd_analyze(&security, tree.path());
    assert!(confined.0, "{}", confined.1);
}

/// Whether the tool is content with the unit in `tree`, and its output.
fn systemd_analyze(words: &[&str], tree: &Path) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let root = format!("--root={}", tree.display());
    command.args(words).args([root.as_str(), "tollhouse.service"]);
    let output = command.output().expect("systemd-analyze of Debian's package systemd");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
