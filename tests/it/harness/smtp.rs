//! A real SMTP server (aiosmtpd) that keeps what it accepted in a maildir.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certs::Certificate;

/// The server; ended when dropped.
pub struct Smtp {
    pub port: u16,
    pub certificate: Option<Certificate>,
    maildir: PathBuf,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Smtp {
    /// Takes mail without TLS.
    pub async fn plain() -> Self {
        Self::start(false).await
    }

    /// Takes mail only after STARTTLS, with a certificate for `localhost`.
    pub async fn starttls() -> Self {
        Self::start(true).await
    }

    async fn start(tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maildir = dir.path().join("mail");
        let certificate = tls.then(|| Certificate::make(dir.path(), "smtp", &["localhost"]));
        // The port is free now; whoever takes it in between makes the start fail loudly below.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("aiosmtpd");
        command.args(["-n", "-l", &format!("127.0.0.1:{port}"), "-c", "aiosmtpd.handlers.Mailbox"]);
        if let Some(certificate) = &certificate {
            command.arg("--tlscert").arg(&certificate.chain);
            command.arg("--tlskey").arg(&certificate.key);
        }
        let mut child = command
            .arg(&maildir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("aiosmtpd is installed (tests/run installs python3-aiosmtpd)");
        let patience = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(child.try_wait().unwrap().is_none(), "aiosmtpd ended at once");
            assert!(patience.elapsed() < Duration::from_secs(20), "aiosmtpd does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { port, certificate, maildir, child, _dir: dir }
    }

    /// Every mail that was accepted, in no order.
    pub fn mails(&self) -> Vec<String> {
        let mails = entries(&self.maildir.join("new"));
        mails.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect()
    }

    /// The six digits in the newest of exactly `count` mails.
    #[track_caller]
    pub fn code(&self, count: usize) -> String {
        let mails = self.mails();
        assert_eq!(mails.len(), count, "mails: {mails:?}");
        digits(&self.newest())
    }

    /// The six digits of each mail to `address`, the newest last.
    pub fn codes_for(&self, address: &str) -> Vec<String> {
        let recipient = format!("\nX-RcptTo: {address}\n");
        let mut mails: Vec<_> = entries(&self.maildir.join("new"))
            .filter_map(|entry| {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let modified = entry.metadata().unwrap().modified().unwrap();
                text.contains(&recipient).then_some((modified, text))
            })
            .collect();
        mails.sort();
        mails.iter().map(|(_, text)| digits(text)).collect()
    }

    fn newest(&self) -> String {
        let entries = entries(&self.maildir.join("new"));
        let newest = entries.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap());
        std::fs::read_to_string(newest.unwrap().path()).unwrap()
    }
}

/// The code in a mail.
fn digits(mail: &str) -> String {
    // The code is in the body; ids and dates in the head have digits too.
    let body = mail.split_once("\n\n").map_or(mail, |(_, body)| body);
    let mut numbers = body.split(|c: char| !c.is_ascii_digit());
    let code = numbers.find(|digits| digits.len() == 6);
    code.unwrap_or_else(|| panic!("no code in {mail}")).to_owned()
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap)
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
