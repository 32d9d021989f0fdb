//! Sessions and their refresh tokens.
//!
//! Every function is one step inside the writer's transaction and is carried out by nobody
//! else, so what it reads cannot change under it.

use std::num::NonZeroUsize;

use redb::ReadableTable;

use super::memory::Live;
use super::tables::{Fault, Id, Kind, Tables};
use super::versions;
use crate::clock::Timestamp;
use crate::identity::{SessionId, Subject};
use crate::secret::Digest;
use crate::session::{Generation, Revoke, Rotated, Rotation, Session};

/// Keeps a new session and ends the subject's oldest beyond `most`.
pub(super) fn put(
    t: &mut Tables<'_>,
    session: &Session,
    most: NonZeroUsize,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    if t.revoked(&session.id) || t.rows().revoked.get(session.id.0.as_bytes())?.is_some() {
        return Ok(Vec::new());
    }
    let mut session = session.clone();
    session.user_version = versions::latest(t, &session.subject, session.user_version)?;
    if let Some(before) = load(t, session.id)? {
        t.change().by_subject.remove(subject_key(&before))?;
    }
    save(t, &session)?;
    t.change().by_subject.insert(subject_key(&session), ())?;
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
    let held = of_subject(t, &newest.subject)?;
    if held.len() <= most.get() {
        return Ok(Vec::new());
    }
    // Only now are the sessions themselves read: those that have ended and wait for the sweep
    // do not count.
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

/// The session, if it has not ended.
pub(super) fn find(
    t: &Tables<'_>,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<Session>, Fault> {
    Ok(load(t, id)?.filter(|session| session.ends() > now && !t.revoked(&id)))
}

/// Live sessions, oldest first.
pub(super) fn list(
    t: &Tables<'_>,
    subject: Option<&Subject>,
    most: usize,
    now: Timestamp,
) -> Result<Vec<Session>, Fault> {
    let ids = match subject {
        Some(subject) => of_subject(t, subject)?,
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

/// Retires the presented refresh token, or says why not.
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
        if let Some((older, _)) = generation.retired {
            t.change().retired.insert((id.0.as_bytes(), &half(older)), ())?;
        }
        session.refresh = Some(Generation {
            number: generation.number.saturating_add(1),
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
            if now.since(at) >= rotation.grace {
                return reuse(t, session, now);
            }
            // Not counted as use: only a working token keeps a session from idling out.
            use_until(t, &mut session, rotation.access_until)?;
            Ok(Rotated::Grace(Box::new(session)))
        }
        _ if t.rows().retired.get((id.0.as_bytes(), &half(presented)))?.is_some() => {
            reuse(t, session, now)
        }
        _ => Ok(Rotated::Unknown),
    }
}

fn reuse(t: &mut Tables<'_>, session: Session, now: Timestamp) -> Result<Rotated, Fault> {
    end(t, &session, now)?;
    Ok(Rotated::Reuse(Box::new(session)))
}

/// Notes a refresh that does not rotate.
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

/// Ends sessions, or outlaws one token.
pub(super) fn revoke(
    t: &mut Tables<'_>,
    what: &Revoke,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    let ids = match what {
        Revoke::Session(id) => vec![*id],
        Revoke::Subject(subject) => of_subject(t, subject)?,
        Revoke::All => all(t)?,
        Revoke::Token { digest, until } => {
            outlaw(t, *digest, *until)?;
            Vec::new()
        }
    };
    let mut ended = Vec::new();
    for id in ids {
        // Also one that has idled out and waits for the sweep: an access token of its may
        // still be good.
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

/// Ends a session and remembers that its tokens are to be refused.
fn end(t: &mut Tables<'_>, session: &Session, now: Timestamp) -> Result<(), Fault> {
    let until = t.revoked_until(session);
    remove(t, session, now)?;
    t.change().revoked.insert(session.id.0.as_bytes(), until.millis())?;
    t.expire(Kind::Revoked, until, session.id.0.as_bytes())?;
    t.effects.revoked.push((session.id, until));
    Ok(())
}

/// Takes a session out. Its retired tokens may be thousands: the sweep removes them piecemeal.
pub(super) fn remove(t: &mut Tables<'_>, session: &Session, now: Timestamp) -> Result<(), Fault> {
    t.change().sessions.remove(session.id.0.as_bytes())?;
    t.change().by_subject.remove(subject_key(session))?;
    if session.refresh.is_some() {
        t.expire(Kind::Retired, now, session.id.0.as_bytes())?;
    }
    t.effects.live.push((session.id, None));
    Ok(())
}

/// Lets the grace of a rotation begin at `now`, where its answer may never have been sent.
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

/// A session whether or not it has ended, until it is swept.
pub(super) fn load(t: &Tables<'_>, id: SessionId) -> Result<Option<Session>, Fault> {
    let row = t.rows().sessions.get(id.0.as_bytes())?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

pub(super) fn save(t: &mut Tables<'_>, session: &Session) -> Result<(), Fault> {
    let row = serde_json::to_vec(session)?;
    t.change().sessions.insert(session.id.0.as_bytes(), row.as_slice())?;
    Ok(())
}

/// The ids of a subject's sessions, oldest first.
pub(super) fn of_subject(t: &Tables<'_>, subject: &Subject) -> Result<Vec<SessionId>, Fault> {
    let (first, last): (Id, Id) = ([0; 16], [u8::MAX; 16]);
    let subject = subject.as_str();
    let mut ids = Vec::new();
    for row in t.rows().by_subject.range((subject, 0, &first)..=(subject, u64::MAX, &last))? {
        ids.push(session_id(row?.0.value().2));
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

/// Saves the session with an access token of its good until `until`.
fn use_until(t: &mut Tables<'_>, session: &mut Session, until: Timestamp) -> Result<(), Fault> {
    let before = t.revoked_until(session);
    session.access_until = session.access_until.max(until);
    if t.revoked_until(session) != before {
        note_live(t, session);
    }
    save(t, session)
}

fn note_live(t: &mut Tables<'_>, session: &Session) {
    let live = Live { subject: session.subject.clone(), revoked_until: t.revoked_until(session) };
    t.effects.live.push((session.id, Some(live)));
}

fn subject_key(session: &Session) -> (&str, u64, &Id) {
    (session.subject.as_str(), session.created.millis(), session.id.0.as_bytes())
}

pub(super) fn session_id(bytes: &Id) -> SessionId {
    SessionId(uuid::Uuid::from_bytes(*bytes))
}

fn half(digest: Digest) -> Id {
    let mut half = [0; 16];
    half.copy_from_slice(digest.0.split_at(16).0);
    half
}
