//! `[reload] watch`: a change of the files of a configuration comes into effect by itself, when it has
//! settled.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tollhouse::clock::Clock;
use tollhouse::config;
use tollhouse::server::{self, RunningServer, ServerOptions};
use tollhouse::settings::Config;

use crate::harness::Client;
use crate::harness::certs::{Certificate, trusting};
use crate::harness::gateway;
use crate::harness::process::{ECHO_ROUTES, Process, folder, until, write_config};

/// A folder as Kubernetes mounts it: every file is a link to `..data/`, which is a link to a folder
/// that is never written again. A new version is a new folder, and `..data` is swapped by a rename.
struct MountedFolder {
    dir: tempfile::TempDir,
    versions: usize,
}

impl MountedFolder {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), versions: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new version with these files.
    fn mount(&mut self, files: &[(&str, &[u8])]) {
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        fs::create_dir(self.path(&version)).unwrap();
        for (name, bytes) in files {
            let file = self.path(&version).join(name);
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&version, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        for (name, _) in files {
            if !self.path(name).exists() {
                symlink(format!("..data/{name}"), self.path(name)).unwrap();
            }
        }
    }
}

/// A gateway whose files are looked at when a test wants it: its clock stands still.
struct WatchedGateway {
    running: Option<RunningServer>,
}

impl WatchedGateway {
    /// Starts on `file`. What was written just before counts as a change: the gateway cannot know
    /// whether it was read before or after. It is over when this returns.
    async fn start(file: PathBuf) -> Self {
        let clock = tollhouse::clock::TestClock::new(gateway::START);
        let options = ServerOptions {
            clock: Clock::test(clock),
            capture_logs: true,
            source: Some(read),
            ..ServerOptions::default()
        };
        let starting =
            move || server::start(config::load(&file, &|_| None).unwrap().config, options);
        let running = tokio::task::spawn_blocking(starting).await.unwrap().unwrap();
        let started = Self { running: Some(running) };
        started.look(&[false, true, false]);
        started
    }

    fn running(&self) -> &RunningServer {
        self.running.as_ref().unwrap()
    }

    /// Looks at the files so often, with these results.
    #[track_caller]
    fn look(&self, results: &[bool]) {
        let looks = results.iter().map(|_| {
            let look = || self.running().look_at_files();
            tokio::task::block_in_place(look)
        });
        assert_eq!(looks.collect::<Vec<_>>(), results, "{}", self.running().audit_lines());
    }

    fn address(&self) -> SocketAddr {
        self.running().addresses()[0]
    }

    /// How many reloads were refused, and how many were not.
    fn reloads(&self) -> (usize, usize) {
        let lines = self.running().audit_lines();
        let count = |part: &str| {
            let reloads = lines.lines().filter(|line| line.contains("\"reload\""));
            reloads.filter(|line| line.contains(part)).count()
        };
        (count("\"ok\":false"), count("\"ok\":true"))
    }

    async fn status(&self, path: &str) -> u16 {
        Client::plain(self.address()).get(path).send().await.status.as_u16()
    }
}

fn read(path: &Path) -> Result<Config, String> {
    config::load(path, &|_| None).map(|loaded| loaded.config).map_err(|issues| issues.to_string())
}

/// A configuration whose route is open, and that refuses everything else.
fn text(listener: &str, path: &str) -> String {
    format!(
        "[process]\nworkers = 1\nbackground_threads = 1\ndrain_delay = \"0s\"\n[reload]\nwatch = true\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n[token]\nissuer = \"https://g.example\"\n\
         audience = [\"legacy\"]\n[[upstream]]\nname = \"u\"\nservers = [\"builtin:echo\"]\n\
         [[route]]\npath = \"{path}\"\nupstream = \"u\"\nauth = []\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_of_a_mounted_folder_takes_effect_as_a_whole() {
    let made = tempfile::tempdir().unwrap();
    let certificates =
        ["one", "two"].map(|stem| Certificate::make(made.path(), stem, &["localhost"]));
    let bytes = |certificate: &Certificate| {
        let read = |path: &Path| fs::read(path).unwrap();
        (read(&certificate.chain), read(&certificate.key))
    };
    let tls = "[listener.tls]\ncertificates = [{ chain = \"tls.crt\", key = \"tls.key\" }]\n";
    let mut mounted = MountedFolder::new();
    let mount = |mounted: &mut MountedFolder, number: usize, path: &str| {
        let (chain, key) = bytes(&certificates[number]);
        let text = text(tls, path);
        let files =
            [("tls.crt", chain.as_slice()), ("tls.key", &key), ("gateway.toml", text.as_bytes())];
        mounted.mount(&files);
    };
    mount(&mut mounted, 0, "/one");
    let gateway = WatchedGateway::start(mounted.path("gateway.toml")).await;
    let client = |number: usize| {
        let der: &Certificate = &certificates[number];
        let tls = trusting(std::slice::from_ref(&der.der), &[b"http/1.1"]);
        let tls = Some((tls, "localhost".to_owned()));
        Client { address: gateway.address(), tls, http2: false }
    };
    client(0).get("/one").send().await.assert_status(200);

    mount(&mut mounted, 1, "/two");
    gateway.look(&[false]);
    client(0).get("/one").send().await.assert_status(200);
    gateway.look(&[true, false]);

    client(1).get("/two").send().await.assert_status(200);
    client(1).get("/one").send().await.assert_status(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_still_being_written_does_not_take_effect() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    fs::write(&file, text("", "/one")).unwrap();
    let gateway = WatchedGateway::start(file.clone()).await;
    let before = gateway.reloads();

    let next = text("", "/two");
    for length in [next.len() / 3, next.len() / 2, next.len() - 20] {
        fs::write(&file, &next[..length]).unwrap();
        gateway.look(&[false]);
        assert_eq!(gateway.status("/one").await, 200);
    }
    assert_eq!(gateway.reloads(), before, "nothing was tried");
    fs::write(&file, next).unwrap();
    gateway.look(&[false, true, false]);

    assert_eq!((gateway.status("/one").await, gateway.status("/two").await), (404, 200));
    assert_eq!(gateway.reloads(), (before.0, before.1 + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_that_are_refused_are_refused_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    let good = text("", "/one");
    fs::write(&file, &good).unwrap();
    let gateway = WatchedGateway::start(file.clone()).await;
    let (refused, done) = gateway.reloads();
    assert_eq!(refused, 0);

    for (number, broken) in ["[[", "[nothing]\n"].iter().enumerate() {
        fs::write(&file, format!("{good}{broken}")).unwrap();
        gateway.look(&[false, true, false, false, false]);
        assert_eq!(gateway.reloads(), (number + 1, done));
        assert_eq!(gateway.status("/one").await, 200, "the last configuration stays");
    }
    fs::remove_file(&file).unwrap();
    gateway.look(&[false, true, false, false]);
    assert_eq!(gateway.reloads(), (3, done));
    fs::write(&file, text("", "/two")).unwrap();
    gateway.look(&[false, true, false]);

    assert_eq!(gateway.reloads(), (3, done + 1));
    assert_eq!(gateway.status("/two").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_that_the_configuration_names_is_watched_also_one_that_comes_late() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    let body = |name: &str| {
        text("", "/one").replace(
            "upstream = \"u\"\nauth = []",
            &format!("auth = []\nrespond = {{ status = 200, file = \"{name}\" }}"),
        )
    };
    fs::write(dir.path().join("page"), "first").unwrap();
    fs::write(&file, body("page")).unwrap();
    let gateway = WatchedGateway::start(file.clone()).await;
    let page = || async {
        let address = gateway.address();
        Client::plain(address).get("/one").send().await.assert_status(200).text()
    };
    assert_eq!(page().await, "first");

    fs::write(dir.path().join("page"), "other").unwrap();
    gateway.look(&[false, true, false]);
    assert_eq!(page().await, "other");

    fs::write(&file, body("late")).unwrap();
    gateway.look(&[false, true, false]);
    assert_eq!(gateway.reloads().0, 1, "the file is not there yet");
    assert_eq!(page().await, "other");
    fs::write(dir.path().join("late"), "late").unwrap();
    gateway.look(&[false, true, false]);
    assert_eq!(page().await, "late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_keys_is_watched_with_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (dir.path().join("gateway.toml"), dir.path().join("keys"));
    fs::create_dir(&keys).unwrap();
    let secret = |name: &str| {
        let jwk =
            r#"{"kty":"oct","alg":"HS256","k":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}"#;
        fs::write(keys.join(name), jwk).unwrap();
        fs::set_permissions(keys.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("one.jwk");
    let text =
        text("", "/one").replace("[token]", "[token]\nkeys = \"keys\"\nalgorithm = \"HS256\"");
    fs::write(&file, text).unwrap();
    let gateway = WatchedGateway::start(file).await;

    secret("two.jwk");
    gateway.look(&[false, true, false]);
    fs::remove_file(keys.join("two.jwk")).unwrap();
    gateway.look(&[false, true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_watched_unless_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    fs::write(&file, text("", "/one")).unwrap();
    let gateway = WatchedGateway::start(file.clone()).await;

    fs::write(&file, text("", "/one").replace("watch = true", "watch = false")).unwrap();
    gateway.look(&[false, true]);
    fs::write(&file, text("", "/two")).unwrap();
    gateway.look(&[false, false, false]);

    assert_eq!(gateway.status("/one").await, 200);
}

/// The gateway looks by itself, every two seconds.
#[tokio::test]
async fn a_running_gateway_takes_a_change_and_says_once_what_it_refuses() {
    let (dir, port) = folder(&format!("{ECHO_ROUTES}[reload]\nwatch = true\n"));
    let process = Process::start(dir, port);
    // What was written just before the start.
    process.wait_for_stderr("files have changed: reloading");
    let route = |path: &str| {
        format!(
            "{ECHO_ROUTES}[reload]\nwatch = true\n[[route]]\npath = \"{path}\"\nupstream = \"u\"\n\
             auth = []\n"
        )
    };
    write_config(process.dir.path(), port, &format!("{}[nothing]\n", route("/broken/")));
    process.wait_for_stderr("not reloaded, the last configuration stays");

    write_config(process.dir.path(), port, &route("/good/"));

    let client = process.client();
    let since = std::time::Instant::now();
    while client.get("/good/").send().await.status != 200 {
        assert!(since.elapsed().as_secs() < 20, "{}", process.stderr());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    client.get("/broken/").send().await.assert_status(401);
    let told = process.stderr();
    assert_eq!(told.matches("not reloaded, the last configuration stays").count(), 1, "{told}");
    until("three reloads", || {
        (process.stderr().matches("files have changed: reloading").count() == 3).then_some(())
    });
}
