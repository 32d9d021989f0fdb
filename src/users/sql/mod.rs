//! Users in a SQL database, read by the operator's query at each login and refresh.
//!
//! The row for a name is read once for a check. If the query finds more than one row, or if the
//! database does not answer, nothing is known about the user: both give 503, never "wrong
//! password". A hash that cannot be read is logged, and its user cannot log in.
//!
//! Where the operator gives an `update`, weak hashes are replaced in the database. Otherwise
//! `import` can keep stronger ones in the gateway's store.

mod probe;
mod problem;
mod row;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use self::probe::database;
pub(super) use self::probe::reach;
use self::problem::{LastProblem, OverWhen};
use super::canonical::canonical_name;
use super::context::SourceContext;
use super::import::ImportedHashes;
use super::password_verifier::PasswordVerifier;
use super::source::{LoginName, NameLookup, PasswordCheck, SourceError, UserRecord, UserSource};
use super::user_table::{self, UserEntry};
use crate::clock::Clock;
use crate::database::{AccessMode, AddressError, Database, QueryRow};
use crate::identity::UserId;
use crate::passwords::{HashCost, StoredHash};
use crate::secret::{self, Digest, Secret, SecretString};
use crate::settings::SqlUsers;

/// Number of hash costs that are remembered. The cost of an unknown name is drawn from them.
const COSTS: usize = 64;
/// How often a database that failed is tried again, so that it is found working without a login.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A source of users in a database. The connections are opened when they are first needed.
#[derive(Debug)]
pub struct SqlSource {
    name: String,
    rules: SqlUsers,
    reader: Database,
    /// Connections that may write; only where hashes may be replaced.
    writer: Option<Database>,
    verifier: PasswordVerifier,
    costs: Mutex<Vec<HashCost>>,
    seed: Secret<[u8; 32]>,
    problem: LastProblem,
    /// The columns that the configuration names.
    wanted: Vec<String>,
}

/// The result of reading one row.
#[derive(Clone)]
enum FoundRow {
    User(Box<UserEntry>),
    /// The user's stored hash cannot be read, so no password is right for it.
    Unusable(UserId),
}

impl FoundRow {
    fn id(&self) -> &UserId {
        match self {
            Self::User(entry) => &entry.user.id,
            Self::Unusable(id) => id,
        }
    }
}

impl SqlSource {
    /// Parses the address of the database. A connection is made when it is first needed.
    ///
    /// # Errors
    ///
    /// If the URL is not valid.
    pub fn open(
        name: &str,
        rules: &SqlUsers,
        context: &SourceContext,
    ) -> Result<Arc<Self>, AddressError> {
        let writer = rules.update.as_ref();
        let imports = rules.import.then(|| ImportedHashes::new(name, context));
        Ok(Arc::new(Self {
            name: name.to_owned(),
            reader: database(&rules.database, AccessMode::Read)?,
            writer: writer.map(|_| database(&rules.database, AccessMode::Write)).transpose()?,
            rules: rules.clone(),
            verifier: PasswordVerifier::new(name, context.hashing.clone(), imports),
            costs: Mutex::default(),
            seed: Secret::new(secret::random()),
            problem: LastProblem::default(),
            wanted: rules.columns.all().map(str::to_owned).collect(),
        }))
    }

    async fn read(&self, name: &LoginName) -> Result<Option<FoundRow>, SourceError> {
        let (query, bound) = match name {
            LoginName::Username(name) => (Some(&self.rules.query), name),
            LoginName::Email(email) => (self.rules.email_query.as_ref(), email),
        };
        // No database has a NUL byte in a text, and some fail when one is bound. So such a name is
        // unknown without a query.
        let Some(query) = query.filter(|_| !bound.contains('\0')) else { return Ok(None) };
        // At most two rows are fetched: the second one shows that the query is ambiguous, and more
        // are not needed. A query without a condition on the name would otherwise read the whole
        // table.
        let wanted: Vec<&str> = self.wanted.iter().map(String::as_str).collect();
        let rows = self.reader.rows_of(&wanted, query, &[bound], 2).await;
        let rows = rows.map_err(|error| self.failed(error.chain(), OverWhen::of(&error)))?;
        let found = match rows.as_slice() {
            [] => None,
            [row] => {
                self.check_columns(row.columns())?;
                Some(self.understand(row)?)
            }
            _ => {
                let cause = "the query has more than one row for a name; it must find one user";
                return Err(self.failed(cause.to_owned(), OverWhen::Answered));
            }
        };
        self.problem.answered(&self.name);
        Ok(found)
    }

    fn check_columns<'c>(&self, there: impl Iterator<Item = &'c str>) -> Result<(), SourceError> {
        let checked = probe::check_columns(&self.rules, there);
        checked.map_err(|cause| self.failed(cause, OverWhen::Probed))
    }

    /// Asks the database for the columns of the queries, without rows. This shows whether the
    /// database answers and whether the queries could ever find a user.
    async fn probe(&self) {
        match probe::probe(&self.reader, &self.rules).await {
            Ok(()) => self.problem.probed(&self.name),
            Err(cause) => self.problem.found(&self.name, &cause, OverWhen::Probed),
        }
    }

    fn understand(&self, row: &QueryRow) -> Result<FoundRow, SourceError> {
        let columns = &self.rules.columns;
        let needed = |column: &str| {
            row.text(column).filter(|text| !text.is_empty()).ok_or_else(|| {
                let cause = format!("the query's row has no text in column `{column}`");
                self.failed(cause, OverWhen::Answered)
            })
        };
        let name = needed(&columns.name.name)?;
        let id = row.text(&columns.id.name).filter(|id| !id.is_empty());
        let profile = row::profile(row, columns, name);
        let disabled = row::is_disabled(row, columns);
        // A user may have no password in the database. The user is known then, but nobody can log
        // in as them. An empty text is read as a hash that cannot be used.
        let stored = row.text(&columns.password.name).unwrap_or_default();
        match StoredHash::parse_allowing(&stored, &self.rules.allow_weak) {
            Ok(hash) => {
                self.remember(hash.cost());
                let entry = user_table::entry(&self.name, id, profile, hash, disabled);
                Ok(FoundRow::User(Box::new(entry)))
            }
            Err(bad) => {
                // A dummy hash takes the place of the unreadable one. The user's id is still
                // needed, to count attempts under the right account.
                let dummy = HashCost::default().dummy();
                let entry = user_table::entry(&self.name, id, profile, dummy, disabled);
                let id = entry.user.id;
                tracing::warn!(source = %self.name, user = %id, "the stored password {bad}");
                Ok(FoundRow::Unusable(id))
            }
        }
    }

    async fn check_row(
        &self,
        found: Option<FoundRow>,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        // A row that is missing or unusable is refused only after the work of a password check.
        // Otherwise the time would tell whether the name exists, or whether its hash can be read.
        let entry = match found {
            Some(FoundRow::User(entry)) => entry,
            Some(FoundRow::Unusable(id)) => {
                self.burn_equal_time(name, password, origin).await?;
                return Ok(PasswordCheck::Wrong { id, disabled: false });
            }
            None => {
                self.burn_equal_time(name, password, origin).await?;
                return Ok(PasswordCheck::UnknownUser);
            }
        };
        let right = self.verifier.matches_user(&entry, password, origin).await?;
        if !right || entry.disabled {
            return Ok(PasswordCheck::Wrong { id: entry.user.id, disabled: entry.disabled });
        }
        if self.writer.is_none() || !entry.password.needs_rehash() {
            return Ok(PasswordCheck::correct(entry.user));
        }
        match self.replace(&entry, password, origin).await {
            Some(user) => {
                let rehashed_from = Some(entry.user.version);
                Ok(PasswordCheck::Correct { user: Box::new(user), rehashed_from, legacy: None })
            }
            None => self.read_again(*entry, password, origin).await,
        }
    }

    /// Replaces a weak hash in the database. Returns the user after that, or `None` if it was not
    /// replaced. A login never fails because of this.
    async fn replace(
        &self,
        entry: &UserEntry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Option<UserRecord> {
        let writer = self.writer.as_ref()?;
        let update = self.rules.update.as_ref()?;
        let hash = self.verifier.pool().hash(password.clone(), origin, |hash| hash).await.ok()?;
        let new = hash.as_str();
        let name = &entry.user.profile.name;
        let old = entry.password.as_str();
        let cause = match writer.execute(update, &[new, name, old]).await {
            Ok(1) => return Some(row::with_password(entry, hash)),
            // The `update` compares the old hash. No row was changed, so another login of this user
            // has been faster, or the password was changed in the database.
            Ok(0) => return None,
            Ok(rows) => format!("`update` would change {rows} rows, and must change one"),
            Err(error) => error.chain(),
        };
        tracing::warn!(source = %self.name, cause, "a weak hash was not replaced");
        None
    }

    /// The user after their weak hash could not be replaced. Another login may have replaced it
    /// meanwhile; the user then has the version of the new hash, and the session must get that
    /// version.
    async fn read_again(
        &self,
        entry: UserEntry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        let wrong = |disabled| Ok(PasswordCheck::Wrong { id: entry.user.id.clone(), disabled });
        let now = match self.read(&LoginName::Username(entry.user.profile.name.clone())).await? {
            Some(FoundRow::User(now)) if now.user.id == entry.user.id => now,
            _ => return wrong(true),
        };
        if now.disabled {
            return wrong(true);
        }
        if now.password != entry.password
            && !self.verifier.matches_user(&now, password, origin).await?
        {
            return wrong(false);
        }
        Ok(PasswordCheck::correct(now.user))
    }

    /// The oldest cost is dropped first, so the list follows the hashes that are in use now.
    fn remember(&self, cost: HashCost) {
        let mut costs = self.costs.lock();
        if costs.len() >= COSTS {
            costs.remove(0);
        }
        costs.push(cost);
    }

    /// The cost of verifying a password for an unknown name: always the same for one name, and one
    /// that known users have.
    fn cost_of_unknown(&self, name: &LoginName) -> HashCost {
        let costs = self.costs.lock();
        let name = canonical_name(name.as_str());
        let digest = Digest::of_list(&[self.seed.expose(), name.as_bytes()]);
        let drawn = digest.0.iter().take(4).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        costs.get(drawn % costs.len().max(1)).copied().unwrap_or_default()
    }

    /// Records why users cannot be read now.
    fn failed(&self, cause: String, over: OverWhen) -> SourceError {
        self.problem.found(&self.name, &cause, over);
        SourceError::Unavailable { name: self.name.clone(), cause }
    }
}

#[async_trait]
impl UserSource for SqlSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn resolve(&self, name: &LoginName) -> Result<Option<UserId>, SourceError> {
        Ok(self.read(name).await?.map(|found| found.id().clone()))
    }

    async fn check(
        &self,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        let found = self.read(name).await?;
        self.check_row(found, name, password, origin).await
    }

    async fn look_for(&self, name: &LoginName) -> Result<NameLookup, SourceError> {
        let found = self.read(name).await?;
        let id = found.as_ref().map(|found| found.id().clone());
        Ok(NameLookup::with_memo(id, found))
    }

    async fn check_found(
        &self,
        found: &NameLookup,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        match found.memo::<Option<FoundRow>>() {
            Some(found) => self.check_row(found.clone(), name, password, origin).await,
            None => self.check(name, password, origin).await,
        }
    }

    fn parallel(&self) -> Option<usize> {
        Some(self.rules.database.parallel)
    }

    async fn burn_equal_time(
        &self,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        let cost = self.cost_of_unknown(name);
        self.verifier.burn_equal_time(cost, password, origin).await
    }

    async fn find(&self, id: &UserId, name: &str) -> Result<Option<UserRecord>, SourceError> {
        let found = self.read(&LoginName::Username(name.to_owned())).await?;
        let Some(FoundRow::User(entry)) = found else { return Ok(None) };
        // The queries look up names only. If the name belongs to another id now, the user of the
        // session is gone, and the session must not continue as the new one.
        Ok((entry.user.id == *id && !entry.disabled).then_some(entry.user))
    }

    fn imports(&self) -> bool {
        self.verifier.imports()
    }

    async fn watch(&self, clock: &Clock) {
        self.probe().await;
        loop {
            clock.sleep(LOOK_EVERY).await;
            if self.problem().is_some() {
                self.probe().await;
            }
        }
    }

    async fn reload(&self) {
        self.probe().await;
    }

    fn problem(&self) -> Option<String> {
        self.problem.text()
    }
}
