//! A real directory for each test; persons stand where their tests put them.

use std::sync::{Arc, Mutex};

use tollhouse::users::UserSource;

use super::{Account, Can, Kind};
use crate::harness::Slapd;

pub(super) struct Directory {
    slapd: Slapd,
    source: Arc<dyn UserSource>,
    persons: Mutex<Vec<String>>,
}

/// Who belongs to this test, among those that the directory begins with.
const KEYS: &str = r#"
filter = "(&(objectClass=inetOrgPerson)(l=here)(uid={name}))"
email_filter = "(&(l=here)(mail={name}))"
disabled_filter = "(title=disabled)"
attributes = { id = "employeeNumber", roles = "employeeType" }
"#;

impl Kind for Directory {
    const CAN: Can = Can {
        email: true,
        roles: true,
        disable: true,
        fold: true,
        stop: true,
        doubt: true,
        hash: false,
    };

    async fn with(accounts: &[Account]) -> Self {
        let slapd = Slapd::start();
        let plain = "filter = \"(&(objectClass=person)(uid={name}))\"\n";
        let section = slapd.section(KEYS).replacen(plain, "", 1);
        let directory =
            Self { source: crate::users::ldap::open(&section), slapd, persons: Mutex::default() };
        directory.replace(accounts).await;
        directory
    }

    fn source(&self) -> Arc<dyn UserSource> {
        self.source.clone()
    }

    async fn replace(&self, accounts: &[Account]) {
        let mut persons = self.persons.lock().unwrap();
        let mut ldif = String::new();
        for dn in persons.drain(..) {
            ldif += &format!("dn: {dn}\nchangetype: delete\n\n");
        }
        for (number, account) in accounts.iter().enumerate() {
            let dn = format!("cn={number},ou=people,dc=example");
            let Account { name, email, password, roles, disabled } = account;
            let id = name.to_lowercase();
            ldif += &format!(
                "dn: {dn}\nchangetype: add\nobjectClass: inetOrgPerson\nsn: {name}\nl: here\n\
                 uid: {name}\nemployeeNumber: {id}\nmail: {email}\n"
            );
            ldif.extend(roles.iter().map(|role| format!("employeeType: {role}\n")));
            if *disabled {
                ldif += "title: disabled\n";
            }
            if !password.is_empty() {
                ldif += &format!("userPassword: {password}\n");
            }
            ldif += "\n";
            persons.push(dn);
        }
        self.slapd.modify(&ldif);
    }

    async fn stop(&mut self) {
        self.slapd.kill();
    }

    async fn bring_back(&mut self) {
        self.slapd.run();
    }
}
