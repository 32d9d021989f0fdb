//! Operations on sessions and their refresh tokens: store, find, rotate, revoke.
//!
//! Each function is one step inside the writer's transaction. One thread carries out all of them,
//! so nothing that a function has read can change before it writes. The functions do not touch
//! memory: they collect `Effects`, which are applied after the commit.

use std::num::NonZeroUsize;
use std::ops::Bound;
use std::time::Duration;

use redb::ReadableTable;

use super::cutoffs;
use super::memory::Live;
use super::seen;
use super::tables::{Fault, Id, Kind, Tables};
use super::versions;
use crate::clock::Timestamp;
use crate::identity::{SessionId, Subject};
use crate::secret::Digest;
use crate::session::{Generation, Revoke, Rotated, Rotation, Session, SessionPage};

/// Number of sessions that one page of a walk over all sessions looks at.
const PAGE: usize = 500;

/// A refresh token younger than this is not replaced by a refresh. A client that refreshes in a
/// loop then does not cause one rotation after another.
const FRESH: Duration = Duration::from_secs(1);

/// Stores a new session and ends the subject's oldest sessions beyond `most`.
pub(super) fn put(
    t: &mut Tables<'_>,
    session: &Session,
    most: NonZeroUsize,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    // A session that was revoked before it is stored must not come back: `put` may run after the
    // revocation of the same id. The row in `revoked` shows it; no session is stored then.
    if t.revoked(&session.id) || t.rows().revoked.get(session.id.0.as_bytes())?.is_some() {
        return Ok(Vec::new());
    }
    // The user's password may have been re-hashed since this login began. The session then gets the
    // new user version; else the next review would end it.
    let mut session = session.clone();
    let user = (session.source.as_str(), &session.user_id);
    session.user_version = versions::latest(t, user, session.user_version)?;
    if let Some(before) = load(t, session.id)? {
        t.change().by_user.remove(user_key(&before))?;
    }
    save(t, &session)?;
    t.change().by_user.insert(user_key(&session), ())?;
    if let Some(token) = &session.traded {
        t.change().by_token.insert((&token.0, session.id.0.as_bytes()), ())?;
    }
    t.expire(Kind::Session, t.outlived(&session), session.id.0.as_bytes())?;
    note_live(t, &session);
    end_oldest(t, &session, most, now)
}

fn end_oldest(
    t: &mut Tables<'_>,
    newest: &Session,
    most: NonZeroUsize,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    let held = of_subject(t, &newest.subject, Some(&newest.realm))?;
    if held.len() <= most.get() {
        return Ok(Vec::new());
    }
    // Only now are the session rows read. Sessions that have ended but wait for the sweep do not
    // count against `most`. The count of ids alone usually shows that there is nothing to end, so
    // most logins skip this step.
    let mut live = Vec::new();
    for id in held {
        live.extend(find(t, id, now)?);
    }
    let excess = live.len().saturating_sub(most.get());
    let mut ended = Vec::new();
    for session in live.iter().filter(|session| session.id != newest.id).take(excess) {
        end(t, session, now)?;
        ended.push(session.id);
    }
    Ok(ended)
}

/// The session, if it exists, has not ended and is not revoked.
pub(super) fn find(
    t: &Tables<'_>,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<Session>, Fault> {
    Ok(load(t, id)?.filter(|session| session.ends() > now && !t.revoked(&id)))
}

/// Live sessions, oldest first, at most `most`.
pub(super) fn list(
    t: &Tables<'_>,
    subject: Option<&Subject>,
    most: usize,
    now: Timestamp,
) -> Result<Vec<Session>, Fault> {
    let ids = match subject {
        Some(subject) => of_subject(t, subject, None)?,
        None => all(t)?,
    };
    let mut live = Vec::new();
    for id in ids {
        if live.len() == most {
            break;
        }
        live.extend(find(t, id, now)?);
    }
    Ok(live)
}

/// The live sessions among the next `PAGE` rows after `after`.
pub(super) fn page(
    t: &Tables<'_>,
    after: Option<SessionId>,
    now: Timestamp,
) -> Result<SessionPage, Fault> {
    let first = after.map_or([0; 16], |id| *id.0.as_bytes());
    let first = if after.is_some() { Bound::Excluded(&first) } else { Bound::Included(&first) };
    let mut page = SessionPage { sessions: Vec::new(), next: None };
    let mut looked = 0;
    for row in t.rows().sessions.range::<&Id>((first, Bound::Unbounded))?.take(PAGE) {
        let id = session_id(row?.0.value());
        page.sessions.extend(find(t, id, now)?);
        page.next = Some(id);
        looked += 1;
    }
    page.next = page.next.filter(|_| looked == PAGE);
    Ok(page)
}

/// Rotates the session's refresh token, or says why it is not rotated.
///
/// Reuse of a retired token after the grace period means that somebody else has a copy: the session
/// is ended (RFC 9700, section 4.14.2).
pub(super) fn rotate(
    t: &mut Tables<'_>,
    id: SessionId,
    rotation: &Rotation,
    now: Timestamp,
) -> Result<Rotated, Fault> {
    let Some(mut session) = find(t, id, now)? else { return Ok(Rotated::Gone) };
    let Some(generation) = session.refresh.clone() else { return Ok(Rotated::Unknown) };
    let presented = rotation.presented;
    if presented == generation.current {
        if generation.retired.is_some_and(|(_, at)| is_within(now, at, FRESH)) {
            extend(t, &mut session, rotation.access_until)?;
            return Ok(Rotated::Fresh(Box::new(session)));
        }
        session.refresh = Some(Generation {
            number: generation.number.saturating_add(1),
            is_named: true,
            current: rotation.successor,
            expires: rotation.expires,
            retired: Some((presented, now)),
        });
        session.last_used = session.last_used.max(now);
        use_until(t, &mut session, rotation.access_until)?;
        t.effects.rotated.push(id);
        return Ok(Rotated::Rotated(Box::new(session)));
    }
    match generation.retired {
        Some((just_now, at)) if just_now == presented => {
            if !is_within(now, at, rotation.grace) {
                return reuse(t, session, now);
            }
            // A repeated refresh does not count as use. Else a client with a stolen, retired token
            // could keep an idle session alive.
            extend(t, &mut session, rotation.access_until)?;
            Ok(Rotated::Grace(Box::new(session)))
        }
        _ if is_older(t, id, &generation, rotation)? => reuse(t, session, now),
        _ => Ok(Rotated::Unknown),
    }
}

/// True if the presented token was retired earlier than the last retired one. Any other token that
/// we signed for this session is newer than the working one: that happens after the store was
/// restored from a backup, and is no sign of theft.
fn is_older(
    t: &Tables<'_>,
    id: SessionId,
    generation: &Generation,
    rotation: &Rotation,
) -> Result<bool, Fault> {
    match rotation.generation {
        Some(number) => Ok(number < generation.number),
        // Tokens issued before schema 4 have no generation number. If the working token has one,
        // every token without is older. If the working token has none either, the table `retired`
        // names the older tokens.
        None if generation.is_named => Ok(true),
        None => {
            let key = (id.0.as_bytes(), &half(rotation.presented));
            Ok(t.rows().retired.get(key)?.is_some())
        }
    }
}

/// True if `now` is less than `span` from `at`, in either direction. Operations do not arrive in
/// the order of their `now`, so `at` may be the later one. The distance is bounded both ways: a
/// clock that was set back far must not re-open a period that ended long ago.
fn is_within(now: Timestamp, at: Timestamp, span: Duration) -> bool {
    now.since(at) < span && at.since(now) < span
}

fn reuse(t: &mut Tables<'_>, session: Session, now: Timestamp) -> Result<Rotated, Fault> {
    end(t, &session, now)?;
    Ok(Rotated::Reuse(Box::new(session)))
}

/// Records a refresh without rotation; `None` if the session is gone or the token is not the
/// current one. Invariant: a refresh never moves `last_used` or `access_until` back.
pub(super) fn renew(
    t: &mut Tables<'_>,
    id: SessionId,
    presented: Option<Digest>,
    access_until: Timestamp,
    now: Timestamp,
) -> Result<Option<Session>, Fault> {
    let Some(mut session) = find(t, id, now)? else { return Ok(None) };
    let working = session.refresh.as_ref().map(|generation| generation.current);
    if presented.is_some() && presented != working {
        return Ok(None);
    }
    session.last_used = session.last_used.max(now);
    use_until(t, &mut session, access_until)?;
    Ok(Some(session))
}

/// Ends sessions, or refuses one token, or sets cut-offs. Returns the ids of the sessions that
/// ended. The effects reach memory after the commit.
pub(super) fn revoke(
    t: &mut Tables<'_>,
    what: &Revoke,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    let ids = match what {
        Revoke::Session(id) => vec![*id],
        Revoke::Siblings(id) => match load(t, *id)? {
            Some(session) => of_subject(t, &session.subject, Some(&session.realm))?,
            None => Vec::new(),
        },
        Revoke::Subject { subject, realm } => of_subject(t, subject, realm.as_deref())?,
        Revoke::All => {
            seen::settle(t)?;
            all(t)?
        }
        Revoke::Token { digest, until } => {
            outlaw(t, *digest, *until)?;
            of_token(t, *digest)?
        }
        Revoke::Tokens { of } => {
            for owner in of {
                cutoffs::keep(t, owner, now)?;
            }
            Vec::new()
        }
    };
    let mut ended = Vec::new();
    for id in ids {
        // A session that has idled out and waits for the sweep is ended too: an access token of it
        // may still be valid. Its revocation must be recorded like every other.
        if let Some(session) = load(t, id)? {
            end(t, &session, now)?;
            ended.push(id);
        }
    }
    Ok(ended)
}

fn outlaw(t: &mut Tables<'_>, digest: Digest, until: Timestamp) -> Result<(), Fault> {
    let held = t.rows().outlawed.get(&digest.0)?.map(|held| held.value());
    if held.is_none_or(|held| held < until.millis()) {
        t.change().outlawed.insert(&digest.0, until.millis())?;
        t.expire(Kind::Outlawed, until, &digest.0)?;
    }
    t.effects.outlawed.push((digest, until));
    Ok(())
}

/// Ends a session and records that its tokens are refused until the last of them has expired.
fn end(t: &mut Tables<'_>, session: &Session, now: Timestamp) -> Result<(), Fault> {
    let until = t.revoked_until(session);
    remove(t, session, now)?;
    t.change().revoked.insert(session.id.0.as_bytes(), until.millis())?;
    t.expire(Kind::Revoked, until, session.id.0.as_bytes())?;
    t.effects.revoked.push((session.id, until));
    Ok(())
}

/// Removes the rows of a session. A session from before schema 4 may have thousands of retired
/// tokens; the sweep removes those piece by piece, so that this step stays short.
pub(super) fn remove(t: &mut Tables<'_>, session: &Session, now: Timestamp) -> Result<(), Fault> {
    let id = session.id.0.as_bytes();
    t.change().sessions.remove(id)?;
    t.change().by_user.remove(user_key(session))?;
    if let Some(token) = &session.traded {
        t.change().by_token.remove((&token.0, id))?;
    }
    if t.rows().retired.range((id, &[0; 16])..=(id, &[u8::MAX; 16]))?.next().is_some() {
        t.expire(Kind::Retired, now, id)?;
    }
    t.effects.live.push((session.id, None));
    Ok(())
}

/// Restarts the grace period of the last rotation at `now`. It is called after a crash, when the
/// answer to that rotation may never have reached the client.
pub(super) fn begin_grace_anew(
    t: &mut Tables<'_>,
    id: SessionId,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some(mut session) = load(t, id)? else { return Ok(()) };
    if let Some((_, at)) = session.refresh.as_mut().and_then(|refresh| refresh.retired.as_mut()) {
        *at = (*at).max(now);
        save(t, &session)?;
    }
    Ok(())
}

/// The session row, whether or not the session has ended, until the sweep removes it.
pub(super) fn load(t: &Tables<'_>, id: SessionId) -> Result<Option<Session>, Fault> {
    let row = t.rows().sessions.get(id.0.as_bytes())?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

pub(super) fn save(t: &mut Tables<'_>, session: &Session) -> Result<(), Fault> {
    let row = serde_json::to_vec(session)?;
    t.change().sessions.insert(session.id.0.as_bytes(), row.as_slice())?;
    Ok(())
}

/// The ids of a subject's sessions in this realm, or in all realms; oldest first.
pub(super) fn of_subject(
    t: &Tables<'_>,
    subject: &Subject,
    realm: Option<&str>,
) -> Result<Vec<SessionId>, Fault> {
    let mut found = Vec::new();
    let first = (subject.as_str(), realm.unwrap_or_default(), 0, &[0; 16]);
    for row in t.rows().by_user.range(first..)? {
        let row = row?.0;
        let (of, within, created, id) = row.value();
        if of != subject.as_str() || realm.is_some_and(|realm| realm != within) {
            break;
        }
        found.push((created, session_id(id)));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

/// The ids of the sessions that this foreign token was exchanged for.
fn of_token(t: &Tables<'_>, token: Digest) -> Result<Vec<SessionId>, Fault> {
    let (first, last): (Id, Id) = ([0; 16], [u8::MAX; 16]);
    let mut ids = Vec::new();
    for row in t.rows().by_token.range((&token.0, &first)..=(&token.0, &last))? {
        ids.push(session_id(row?.0.value().1));
    }
    Ok(ids)
}

/// The ids of all sessions, oldest first.
pub(super) fn all(t: &Tables<'_>) -> Result<Vec<SessionId>, Fault> {
    let mut ids = Vec::new();
    for row in t.rows().sessions.iter()? {
        ids.push(session_id(row?.0.value()));
    }
    Ok(ids)
}

/// Like `use_until`, for a session in which nothing else has changed: if an access token valid for
/// as long was issued before, nothing is written.
fn extend(t: &mut Tables<'_>, session: &mut Session, until: Timestamp) -> Result<(), Fault> {
    if until > session.access_until { use_until(t, session, until) } else { Ok(()) }
}

/// Saves the session after an access token valid until `until` was issued for it.
fn use_until(t: &mut Tables<'_>, session: &mut Session, until: Timestamp) -> Result<(), Fault> {
    let before = t.revoked_until(session);
    session.access_until = session.access_until.max(until);
    // Memory keeps its own copy of this time, for revocations while the disk fails.
    if t.revoked_until(session) != before {
        note_live(t, session);
    }
    save(t, session)
}

fn note_live(t: &mut Tables<'_>, session: &Session) {
    let live = Live::of(session, t.revoked_until(session));
    t.effects.live.push((session.id, Some(live)));
}

/// The key of a session in the table `by_user`.
type UserKey<'a> = (&'a str, &'a str, u64, &'a Id);

pub(super) fn user_key(session: &Session) -> UserKey<'_> {
    let (subject, realm) = (session.subject.as_str(), session.realm.as_str());
    (subject, realm, session.created.millis(), session.id.0.as_bytes())
}

pub(super) fn session_id(bytes: &Id) -> SessionId {
    SessionId(uuid::Uuid::from_bytes(*bytes))
}

fn half(digest: Digest) -> Id {
    let mut half = [0; 16];
    half.copy_from_slice(digest.0.split_at(16).0);
    half
}
