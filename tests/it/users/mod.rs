//! The sources of users: files, directories, databases, legacy systems.

pub(crate) mod contract; // what every source of users promises
pub(crate) mod file; // users.toml: logins, changes to the file, re-hashing
pub(crate) mod htpasswd; // users of Apache, weak hashes replaced and imported
pub(crate) mod ldap; // users of a real directory
pub(crate) mod passwords; // stored hashes of every form
pub(crate) mod reviews; // users change while a source is silent or a password is looked at
pub(crate) mod sql; // users in real databases
pub(crate) mod takeover; // a login system is taken over in three days
