//! `users.toml`.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use tollhouse::passwords::{HashCounts, HashPool};
use tollhouse::users::{FileSource, UserSource};

use super::{Account, Can, Kind};

pub(super) struct UsersFile {
    folder: tempfile::TempDir,
    pool: Arc<HashPool>,
    source: Arc<FileSource>,
}

impl Kind for UsersFile {
    const CAN: Can = Can {
        email: true,
        roles: true,
        disable: true,
        fold: true,
        stop: false,
        doubt: false,
        hash: true,
    };

    async fn with(accounts: &[Account]) -> Self {
        let (folder, pool) = (tempfile::tempdir().unwrap(), HashPool::start(2, 64).unwrap());
        write(&folder, accounts);
        let path = folder.path().join("users.toml");
        let source = FileSource::open("staff", path, pool.clone()).unwrap();
        Self { folder, pool, source }
    }

    fn source(&self) -> Arc<dyn UserSource> {
        self.source.clone()
    }

    async fn replace(&self, accounts: &[Account]) {
        std::fs::remove_file(self.folder.path().join("users.toml")).unwrap();
        write(&self.folder, accounts);
        self.source.reload().await;
    }

    fn operations(&self) -> HashCounts {
        self.pool.operations()
    }
}

/// Read-only, so that the weak hashes, which cost no time, stay as they are.
fn write(folder: &tempfile::TempDir, accounts: &[Account]) {
    let user = |account: &Account| {
        let Account { name, email, roles, disabled, .. } = account;
        let hash = super::quick_hash(account.password);
        format!(
            "[[user]]\nname = \"{name}\"\nemail = \"{email}\"\npassword = \"{hash}\"\n\
             roles = {roles:?}\ndisabled = {disabled}\n"
        )
    };
    let path = folder.path().join("users.toml");
    std::fs::write(&path, accounts.iter().map(user).collect::<String>()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
}
