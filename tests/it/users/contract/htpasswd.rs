//! Apache's `htpasswd`, with groups beside it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tollhouse::passwords::HashCounts;
use tollhouse::settings::HtpasswdUsers;
use tollhouse::users::{FileSource, SourceContext, UserSource};

use super::{Account, Can, Kind, quick_hash};

pub(super) struct HtpasswdFile {
    folder: tempfile::TempDir,
    means: SourceContext,
    source: Arc<FileSource>,
}

impl Kind for HtpasswdFile {
    const CAN: Can = Can {
        email: false,
        roles: true,
        disable: false,
        fold: true,
        stop: false,
        doubt: false,
        hash: true,
    };

    async fn with(accounts: &[Account]) -> Self {
        let (folder, means) = super::sql::means();
        write(folder.path(), accounts);
        let (path, groups) = (folder.path().join("htpasswd"), folder.path().join("htgroup"));
        let config = HtpasswdUsers { path, groups: Some(groups), ..HtpasswdUsers::default() };
        let source = FileSource::open_htpasswd("staff", &config, &means).unwrap();
        Self { folder, means, source }
    }

    fn source(&self) -> Arc<dyn UserSource> {
        self.source.clone()
    }

    async fn replace(&self, accounts: &[Account]) {
        write(self.folder.path(), accounts);
        self.source.reload().await;
    }

    fn operations(&self) -> HashCounts {
        self.means.hashing.operations()
    }
}

fn write(folder: &Path, accounts: &[Account]) {
    let user = |account: &Account| format!("{}:{}\n", account.name, quick_hash(account.password));
    let groups = |account: &Account| -> String {
        account.roles.iter().map(|role| format!("{role}: {}\n", account.name)).collect()
    };
    let (users, groups): (String, String) =
        (accounts.iter().map(user).collect(), accounts.iter().map(groups).collect());
    for (name, text) in [("htpasswd", users), ("htgroup", groups)] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}
