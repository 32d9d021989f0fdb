//! A name and a password on a route (`auth = ["basic"]`, RFC 7617): the password step of a login,
//! without a session.
//!
//! Attempts are counted and limited as at a login. Requests that send the same password at the same
//! time are verified once (single flight), and a verified password is remembered for a minute. A
//! user with a second step is refused: Basic authentication has no place for a code.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::AttemptSource;
use super::password_cache::PasswordCacheKey;
use super::revalidation::SourceBackoff;
use super::{LoginError, LoginServices};
use crate::authn::VerifiedCredential;
use crate::client::{Client, address_group};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{BASIC_ISSUER, Identity, Subject};
use crate::secret::{Digest, SecretString};
use crate::session::{AttemptKind, LoginProgress, StreamOrigin};
use crate::telemetry::audit::AuditActor;
use crate::telemetry::metrics::LoginResult;
use crate::users::{LoginName, UserRecord};

/// How long a password revoked during a review stays revoked: longer than any upstream takes to
/// send the head of a response.
const ON_ITS_WAY: Duration = Duration::from_secs(600);

/// A request with a name and a password, with everything that verifying them needs.
#[derive(Debug)]
pub(crate) struct BasicCall {
    /// The number of the generation that serves the request.
    pub(crate) generation: u64,
    /// The user sources whose passwords the route accepts, in their order.
    pub(crate) sources: Vec<String>,
    pub(crate) name: String,
    pub(crate) password: SecretString,
    pub(crate) client: Arc<Client>,
    pub(crate) request_id: String,
    /// True for a peer whose address many clients share; its attempts are not counted by address.
    pub(crate) shared_address: bool,
    pub(crate) now: Timestamp,
}

impl BasicCall {
    /// The parts of the request that the result depends on; they are the key of the cache of
    /// proofs.
    pub(crate) fn cache_key(&self) -> PasswordCacheKey<'_> {
        PasswordCacheKey {
            generation: self.generation,
            sources: &self.sources,
            name: &self.name,
            password: &self.password,
            group: self.client.address.filter(|_| !self.shared_address).map(address_group),
        }
    }

    fn attempt_source<'a>(&'a self, services: &'a LoginServices) -> AttemptSource<'a> {
        let actor = AuditActor {
            address: self.client.address,
            request_id: &self.request_id,
            login: BASIC_ISSUER,
            operator: None,
        };
        AttemptSource { services, actor, group: self.cache_key().group, now: self.now }
    }
}

impl LoginServices {
    /// Refuses the request before its password is verified, if the client's address has reached its
    /// limit.
    pub(crate) fn refuses_basic(&self, call: &BasicCall) -> Option<LoginError> {
        call.attempt_source(self).refused_already()
    }

    /// Verifies a name and a password. Runs on the background runtime, because it may wait for a
    /// source and for a hash.
    ///
    /// Single flight: of all requests with the same password at the same time, one verifies it and
    /// the others wait for the result. A program that sends its password with a hundred parallel
    /// requests costs one hash and one counted attempt.
    pub(crate) async fn prove_basic(
        &self,
        call: BasicCall,
    ) -> Result<Arc<VerifiedCredential>, LoginError> {
        let digest = self.password_cache.digest(&call.cache_key());
        let checking = self.check_uncached(&call, digest);
        self.password_cache.flights.run(digest, checking).await.unwrap_or_else(|| {
            Err(LoginError::new(Reason::Unavailable, "too many passwords are being verified"))
        })
    }

    async fn check_uncached(
        &self,
        call: &BasicCall,
        digest: Digest,
    ) -> Result<Arc<VerifiedCredential>, LoginError> {
        // Another flight for the same password may have landed between the caller's look and this
        // one: then its proof is there already. Without this look the second flight would hash the
        // password once more.
        if let Some(cached) = self.password_cache.find(&digest, call.now) {
            return Ok(cached);
        }
        // The epoch is read before the user is looked up. If users change after this line, the
        // epoch changes, and `keep` notices that the result may be outdated.
        let epoch = self.password_cache.epoch();
        let source = call.attempt_source(self);
        let names = [LoginName::Username(call.name.clone())];
        let begun = source.begin(&call.sources, &names).await.map_err(no_name_is_unknown)?;
        let account = begun.account();
        let attempt = begun.reserve(account, AttemptKind::Password).await?;
        let checked = attempt.check_password(&call.password).await.map(|proven| proven.user);
        let checked = match checked {
            Ok(user) => self.refuse_second_step(&source, &user).await.map(|()| user),
            Err(refused) => Err(no_name_is_unknown(refused)),
        };
        let user = match checked {
            Ok(user) => user,
            Err(refused) => return Err(attempt.refused(refused).await),
        };
        // This counts as a complete login, because a user with a second step was refused above.
        attempt.passed(LoginProgress::Login).await?;
        let verified = self.keep(digest, epoch, &source, &user).await?;
        source.count(LoginResult::Succeeded);
        Ok(verified)
    }

    /// Remembers that the password was right.
    ///
    /// If users changed since the password was verified, or another configuration is in effect, the
    /// user is looked up again, in the sources in effect. Else the request would go on with rights
    /// that the user no longer has, and no review would find what it opens: the review of that
    /// change has already run.
    async fn keep(
        &self,
        digest: Digest,
        epoch: u64,
        source: &AttemptSource<'_>,
        user: &UserRecord,
    ) -> Result<Arc<VerifiedCredential>, LoginError> {
        let verified = Arc::new(verified(user, self.subject(user)));
        let is_in_effect =
            self.in_effect.get().is_none_or(|other| ptr::eq(&raw const *other, self));
        if is_in_effect && self.password_cache.keep(digest, epoch, &verified, user, source.now)? {
            return Ok(verified);
        }
        // The epoch is read before the services in effect: a reload after that changes the epoch
        // or reviews the user.
        let epoch = self.password_cache.epoch();
        let in_effect = self.in_effect.get();
        let services = in_effect.as_deref().unwrap_or(self);
        let found = services.users.find(&user.source, &user.id, &user.profile.name).await?;
        let subject = &verified.identity.subject;
        if !found.is_some_and(|found| services.is_same(&found, subject, user.version)) {
            let cause = "the user changed while the password was verified";
            return Err(source.failed(&user.profile.name, Reason::InvalidCredentials, cause));
        }
        self.refuse_second_step(source, user).await?;
        if self.password_cache.keep(digest, epoch, &verified, user, source.now)? {
            return Ok(verified);
        }
        Err(LoginError::new(
            Reason::Unavailable,
            "users changed again while this one was looked up",
        ))
    }

    async fn refuse_second_step(
        &self,
        source: &AttemptSource<'_>,
        user: &UserRecord,
    ) -> Result<(), LoginError> {
        if self.store.find_totp(&user.source, &user.id).await?.is_none() {
            return Ok(());
        }
        let cause = "the user has a second step, which Basic does not have";
        Err(source.failed(&user.profile.name, Reason::InvalidCredentials, cause))
    }

    /// Reviews the users of remembered passwords after users have changed: a user who changed has
    /// their streams ended and their credential revoked. A user whose source cannot be asked keeps
    /// their streams, as with sessions. Returns true if every user could be compared.
    pub(crate) async fn review_basic(&self, now: Timestamp) -> bool {
        let mut patience = SourceBackoff::default();
        let mut is_done = true;
        let mut users = self.password_cache.users();
        // Users of local sources are reviewed first, because those answer at once. A remote source
        // that does not answer uses up the patience of the review.
        users.sort_by_key(|(_, user)| !self.users.is_local(&user.source));
        for (digest, user) in users {
            let found = self.users.find(&user.source, &user.id, &user.profile.name);
            match patience.run(&user.source, found).await {
                Some(Some(found)) if found.version == user.version => {}
                Some(_) => {
                    // A request that was accepted before may still open a stream. The revocation
                    // outlives such requests, and a stream looks at the revocations after it was
                    // opened.
                    self.store.revocations().revoke_token(digest, now.plus(ON_ITS_WAY));
                    self.streams.end(StreamOrigin::Credential(digest));
                }
                None => is_done = false,
            }
        }
        is_done
    }
}

/// An unknown user and a wrong password get the same answer, 401 (RFC 9110, section 15.5.2).
fn no_name_is_unknown(refused: LoginError) -> LoginError {
    match refused.reason {
        Reason::UnknownUser => LoginError { reason: Reason::InvalidCredentials, ..refused },
        _ => refused,
    }
}

/// The identity that a route and its upstream see. The digest covers the user's version, so a user
/// who changed gets another digest and other streams.
fn verified(user: &UserRecord, subject: Subject) -> VerifiedCredential {
    let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
    let profile = &user.profile;
    let identity = Identity {
        source: user.source.as_str().into(),
        roles: names(&profile.roles),
        scopes: names(&profile.scopes),
        claims: profile.claims.clone(),
        ..Identity::new(BASIC_ISSUER, subject, &profile.name)
    };
    // The digest names the credential in revocations and streams. It must not contain the password.
    let parts = [BASIC_ISSUER.as_bytes(), user.source.as_bytes(), user.id.as_str().as_bytes()];
    let digest = Digest::of_list(&[&parts[..], &[&user.version.0]].concat());
    VerifiedCredential::without_token(identity, digest, Timestamp::NEVER)
}
