//! A name and a password on a route (`auth = ["basic"]`): the password step of a login without the
//! session.
//!
//! Counted and limited as at a login. Requests that come with the same password at the same time
//! are one try. Whoever has a second step does not get in by his password alone.

use std::sync::Arc;
use std::time::Duration;

use super::attempts::Trier;
use super::proofs::Asked;
use super::review::Patience;
use super::{Refused, Services};
use crate::authn::Verified;
use crate::client::{Client, address_group};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{BASIC_ISSUER, Identity, Subject};
use crate::secret::{Digest, SecretString};
use crate::session::{AttemptKind, LoginProgress, StreamOrigin};
use crate::telemetry::audit::Actor;
use crate::telemetry::metrics::LoginResult;
use crate::users::{Lookup, Name, User, canonical_account};

/// Longer than any upstream takes for the head of an answer.
const ON_ITS_WAY: Duration = Duration::from_secs(600);

/// A request with a name and a password.
#[derive(Debug)]
pub(crate) struct BasicCall {
    /// Whose passwords the route takes.
    pub(crate) sources: Vec<String>,
    pub(crate) name: String,
    pub(crate) password: SecretString,
    pub(crate) client: Arc<Client>,
    pub(crate) request_id: String,
    /// Peers that many clients share are not counted by address.
    pub(crate) shared_address: bool,
    pub(crate) now: Timestamp,
}

impl BasicCall {
    /// What decides about it.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            sources: &self.sources,
            name: &self.name,
            password: &self.password,
            group: self.client.address.filter(|_| !self.shared_address).map(address_group),
        }
    }

    fn trier(&self) -> Trier<'_> {
        let actor = Actor {
            address: self.client.address,
            request_id: &self.request_id,
            login: BASIC_ISSUER,
        };
        Trier { actor, group: self.asked().group, now: self.now }
    }
}

impl Services {
    /// Whether it is refused before anybody looks at the password.
    pub(crate) fn refuses_basic(&self, call: &BasicCall) -> Option<(Refused, bool)> {
        self.refused_already(&call.trier())
    }

    /// Proves a name and a password. Waits: for the back room.
    pub(crate) async fn prove_basic(&self, call: BasicCall) -> Result<Arc<Verified>, Refused> {
        let digest = self.proofs.digest(&call.asked());
        let flight = self.proofs.board(digest);
        let proved = flight.get_or_init(|| self.look_at(&call, digest)).await.clone();
        self.proofs.land(digest, &flight);
        proved
    }

    async fn look_at(&self, call: &BasicCall, digest: Digest) -> Result<Arc<Verified>, Refused> {
        // Whoever had it in his hands before may have landed just now.
        if let Some(held) = self.proofs.find(&digest, call.now) {
            return Ok(held);
        }
        let epoch = self.proofs.epoch();
        let (trier, name) = (call.trier(), Name::Username(call.name.clone()));
        let lookup = self.begin(&trier, &call.sources, &name).await.map_err(no_name_is_unknown)?;
        let account = canonical_account(&name, lookup.key.as_ref());
        let counted = (account, AttemptKind::Password);
        let attempt = self.reserve_attempt(&trier, &lookup, counted).await?;
        let user = match self.checked(call, &trier, (&name, &lookup)).await {
            Ok(user) => user,
            Err(refused) => {
                self.not_passed(attempt, &lookup, &refused, call.now).await;
                return Err(refused);
            }
        };
        // Whoever has a second step does not come here.
        self.passed(attempt, LoginProgress::Login, call.now).await?;
        let verified = self.keep((digest, epoch), &trier, &user).await?;
        self.count(&trier, LoginResult::Succeeded);
        Ok(verified)
    }

    /// Keeps that the password was right. Where users changed since it was looked at, he is looked
    /// for again: what he opens from now on, no review of that change would end.
    async fn keep(
        &self,
        (digest, epoch): (Digest, u64),
        trier: &Trier<'_>,
        user: &User,
    ) -> Result<Arc<Verified>, Refused> {
        let verified = Arc::new(verified(user, self.subject(user)));
        if self.proofs.keep(digest, epoch, (&verified, user), trier.now)? {
            return Ok(verified);
        }
        let epoch = self.proofs.epoch();
        let found = self.users.find(&user.source, &user.id, &user.name).await?;
        if found.is_none_or(|found| found.version != user.version) {
            let cause = "the user changed while his password was looked at";
            return Err(self.failed(trier, &user.name, Reason::InvalidCredentials, cause));
        }
        self.refuse_second_step(trier, user).await?;
        if self.proofs.keep(digest, epoch, (&verified, user), trier.now)? {
            return Ok(verified);
        }
        Err(Refused::new(Reason::Unavailable, "users change faster than one can be looked at"))
    }

    async fn checked(
        &self,
        call: &BasicCall,
        trier: &Trier<'_>,
        name: (&Name, &Lookup),
    ) -> Result<User, Refused> {
        let checked = self.check_password(trier, &call.sources, name, &call.password).await;
        let user = checked.map_err(no_name_is_unknown)?;
        self.refuse_second_step(trier, &user).await?;
        Ok(user)
    }

    async fn refuse_second_step(&self, trier: &Trier<'_>, user: &User) -> Result<(), Refused> {
        if self.store.find_totp(&user.source, &user.id).await?.is_none() {
            return Ok(());
        }
        let cause = "the user has a second step, which Basic does not have";
        Err(self.failed(trier, &user.name, Reason::InvalidCredentials, cause))
    }

    /// Users have changed: who is not who he was has nothing open any more. Whose source cannot be
    /// asked keeps what he has, as sessions do; answers whether all could be.
    pub(crate) async fn review_basic(&self, now: Timestamp) -> bool {
        let (mut patience, mut is_done) = (Patience::default(), true);
        let mut users = self.proofs.users();
        users.sort_by_key(|(_, user)| !self.users.is_local(&user.source));
        for (digest, user) in users {
            let found = self.users.find(&user.source, &user.id, &user.name);
            match patience.ask(&user.source, found).await {
                Some(Some(found)) if found.version == user.version => {}
                Some(_) => {
                    // A request that is on its way may open something yet.
                    self.store.revocations().revoke_token(digest, now.plus(ON_ITS_WAY));
                    self.streams.end(StreamOrigin::Credential(digest));
                }
                None => is_done = false,
            }
        }
        is_done
    }
}

/// HTTP has one answer for an unknown user and a wrong password.
fn no_name_is_unknown(refused: Refused) -> Refused {
    match refused.reason {
        Reason::UnknownUser => Refused { reason: Reason::InvalidCredentials, ..refused },
        _ => refused,
    }
}

/// Who the user is to a route. Named by all that he was when his password was right.
fn verified(user: &User, subject: Subject) -> Verified {
    let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
    let identity = Identity {
        subject,
        username: user.name.as_str().into(),
        source: user.source.as_str().into(),
        issuer: BASIC_ISSUER.into(),
        login: "".into(),
        session: None,
        roles: names(&user.roles),
        scopes: names(&user.scopes),
        claims: user.claims.clone(),
    };
    let parts = [BASIC_ISSUER.as_bytes(), user.source.as_bytes(), user.id.as_str().as_bytes()];
    let digest = Digest::of_list(&[&parts[..], &[&user.version.0]].concat());
    Verified::without_token(identity, digest, Timestamp::NEVER)
}
