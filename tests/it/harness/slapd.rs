//! A real directory (OpenLDAP's slapd) on free ports in a folder of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::certs::Certificate;
use super::gateway::PASSWORD;
use super::process::{free_port, until};

/// The server; ended when dropped.
pub struct Slapd {
    /// Port of `ldap://`, with StartTLS.
    pub plain: u16,
    /// Port of `ldaps://`.
    pub tls: u16,
    pub certificate: Certificate,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

/// Whom the gateway searches as.
pub const GATEWAY: &str = "cn=gateway,dc=example";
const ROOT: &str = "cn=root,dc=example";
const ROOT_PASSWORD: &str = "root";
const GATEWAY_PASSWORD: &str = "the gateway's own";

/// The id of a person of the tree.
pub fn id(letter: char) -> String {
    format!("0192f0c1-0000-7000-8000-00000000000{letter}")
}

/// The DN of a person of the tree.
pub fn dn(name: &str) -> String {
    format!("uid={name},ou=people,dc=example")
}

impl Slapd {
    /// With `alice` (group `admins`, and `dev`), `bob` (no group), `dora` (retired), and `twin1`
    /// and `twin2`, who share an address; all have `PASSWORD`. `eve` is in a group `admins` that
    /// lies elsewhere.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With further lines in its configuration's head; `{dir}` is its folder.
    pub fn start_with(head: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certificate = Certificate::make(dir.path(), "slapd", &["localhost", "127.0.0.1"]);
        std::fs::create_dir(dir.path().join("db")).unwrap();
        let path = dir.path().display().to_string();
        let config = CONFIG.replace("{head}", head).replace("{dir}", &path);
        std::fs::write(dir.path().join("slapd.conf"), config).unwrap();
        write_secret(&dir.path().join("gateway-password"), GATEWAY_PASSWORD);
        let mut slapd =
            Self { plain: free_port(), tls: free_port(), certificate, dir, child: None };
        slapd.load();
        slapd.run();
        slapd
    }

    fn load(&self) {
        let ldif = self.dir.path().join("tree.ldif");
        let tree = TREE.replace("{password}", PASSWORD).replace("{gateway}", GATEWAY_PASSWORD);
        std::fs::write(&ldif, tree).unwrap();
        let output = Command::new("/usr/sbin/slapadd")
            .arg("-f")
            .arg(self.dir.path().join("slapd.conf"))
            .arg("-l")
            .arg(&ldif)
            .output()
            .expect("slapadd is installed (tests/run installs slapd)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts it again after `kill`, on the same ports.
    pub fn run(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let urls = format!("ldap://127.0.0.1:{} ldaps://127.0.0.1:{}", self.plain, self.tls);
        let mut child = Command::new("/usr/sbin/slapd")
            .arg("-f")
            .arg(self.dir.path().join("slapd.conf"))
            .args(["-h", &urls, "-d", "stats"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        until("slapd listens", || {
            assert!(child.try_wait().unwrap().is_none(), "slapd ended: {}", self.log());
            [self.plain, self.tls]
                .iter()
                .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok())
                .then_some(())
        });
        self.child = Some(child);
    }

    /// Ends it at once; what it has stored stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Everything it has logged: connections, operations, results.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// How often somebody tried to bind as `dn`.
    pub fn binds(&self, dn: &str) -> usize {
        self.log().matches(&format!("BIND dn=\"{dn}\" method=128")).count()
    }

    /// Changes entries, by LDIF.
    #[track_caller]
    pub fn modify(&self, ldif: &str) {
        let file = self.dir.path().join("change.ldif");
        std::fs::write(&file, ldif).unwrap();
        let output = Command::new("ldapmodify")
            .args(["-x", "-H", &format!("ldap://127.0.0.1:{}", self.plain)])
            .args(["-D", ROOT, "-w", ROOT_PASSWORD, "-f"])
            .arg(&file)
            .output()
            .expect("ldapmodify is installed (tests/run installs ldap-utils)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A `[[users]]` section for it, by `ldaps://`, with `keys` besides.
    pub fn section(&self, keys: &str) -> String {
        self.section_at(&format!("ldaps://localhost:{}", self.tls), keys)
    }

    /// The same by another URL; it is one, or a list's inside.
    pub fn section_at(&self, urls: &str, keys: &str) -> String {
        let ca = match keys.contains("ca =") || keys.contains("tls = \"none\"") {
            true => String::new(),
            false => format!("ca = \"{}\"", self.certificate.chain.display()),
        };
        format!(
            r#"
[[users]]
name = "directory"
kind = "ldap"
url = ["{urls}"]
{ca}
bind_dn = "{GATEWAY}"
bind_password = {{ file = "{}" }}
base = "ou=people,dc=example"
filter = "(&(objectClass=person)(uid={{name}}))"
{keys}
"#,
            self.dir.path().join("gateway-password").display()
        )
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file that only its owner may read.
pub fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Only the gateway may read, and nobody a password.
const CONFIG: &str = r#"
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
pidfile {dir}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
TLSCertificateFile {dir}/slapd.pem
TLSCertificateKeyFile {dir}/slapd.key
{head}
database mdb
maxsize 16777216
suffix "dc=example"
rootdn "cn=root,dc=example"
rootpw root
directory {dir}/db
index uid,mail,entryUUID,member eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn="cn=gateway,dc=example" read by anonymous auth by * none
overlay memberof
overlay ppolicy
"#;

const TREE: &str = r#"
dn: dc=example
objectClass: dcObject
objectClass: organization
o: example

dn: cn=gateway,dc=example
objectClass: applicationProcess
objectClass: simpleSecurityObject
userPassword: {gateway}

dn: ou=people,dc=example
objectClass: organizationalUnit

dn: uid=alice,ou=people,dc=example
objectClass: inetOrgPerson
entryUUID: 0192f0c1-0000-7000-8000-00000000000a
cn: Alice (Ärztin), M.D.
sn: Liddell
o: acme
mail: alice@example.com
userPassword: {password}
memberOf: cn=admins,ou=groups,dc=example
memberOf: cn=dev,ou=groups,dc=example

dn: uid=bob,ou=people,dc=example
objectClass: inetOrgPerson
entryUUID: 0192f0c1-0000-7000-8000-00000000000b
cn: Bob
sn: Bob
mail: bob@example.com
userPassword: {password}

dn: uid=dora,ou=people,dc=example
objectClass: inetOrgPerson
entryUUID: 0192f0c1-0000-7000-8000-00000000000d
cn: Dora
sn: Dora
employeeType: retired
userPassword: {password}

dn: uid=eve,ou=people,dc=example
objectClass: inetOrgPerson
entryUUID: 0192f0c1-0000-7000-8000-00000000000e
cn: Eve
sn: Eve
userPassword: {password}
memberOf: cn=admins,ou=clubs,dc=example

dn: uid=twin1,ou=people,dc=example
objectClass: inetOrgPerson
cn: Twin
sn: Twin
mail: twin@example.com
userPassword: {password}

dn: uid=twin2,ou=people,dc=example
objectClass: inetOrgPerson
cn: Twin
sn: Twin
mail: twin@example.com
userPassword: {password}

dn: uid=nopw,ou=people,dc=example
objectClass: inetOrgPerson
cn: Without a password
sn: Nopw

dn: ou=groups,dc=example
objectClass: organizationalUnit

dn: cn=admins,ou=groups,dc=example
objectClass: groupOfNames
member: uid=alice,ou=people,dc=example

dn: cn=dev,ou=groups,dc=example
objectClass: groupOfNames
member: uid=alice,ou=people,dc=example
member: uid=twin1,ou=people,dc=example

dn: ou=clubs,dc=example
objectClass: organizationalUnit

dn: cn=admins,ou=clubs,dc=example
objectClass: groupOfNames
member: uid=eve,ou=people,dc=example
"#;
