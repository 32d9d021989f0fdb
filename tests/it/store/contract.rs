//! What every session store promises: each case runs against every implementation.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::join_all;
use tollhouse::clock::Timestamp;
use tollhouse::identity::{SessionId, Subject, UserId};
use tollhouse::secret::{Digest, Secret};
use tollhouse::session::{
    AccountCounts, AccountKey, AttemptAdmission, AttemptKind, CodeGuess, CodeVerdict, ForeignToken,
    KnownAccount, LoginAttempt, LoginProgress, OneTimeCode, PutCode, RefreshGeneration,
    RefreshRotation, RevocationTarget, RotationOutcome, Session, SessionStore, TokenOwner,
    TotpSecret, UserRef,
};

/// When every case begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const MANY: NonZeroUsize = NonZeroUsize::new(100).unwrap();
const GRACE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

pub(crate) fn token(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// A session of `subject` that began at `now`, lasts a day, and whose refresh token is `a`.
pub(crate) fn session(subject: &str, now: Timestamp) -> Session {
    Session {
        id: SessionId::new(now),
        subject: Subject::new(subject),
        realm: "staff".to_owned(),
        username: subject.to_owned(),
        email: None,
        source: "staff".to_owned(),
        user_id: UserId::new(subject),
        login: "native".to_owned(),
        roles: vec!["admin".to_owned()],
        scopes: Vec::new(),
        claims: serde_json::from_str(r#"{"tenant":"acme","level":3}"#).unwrap(),
        user_version: token("version 1"),
        created: now,
        expires: now.plus(24 * HOUR),
        idle: None,
        last_used: now,
        access_until: now.plus(HOUR),
        refresh: Some(RefreshGeneration {
            number: 1,
            is_named: true,
            current: token("a"),
            expires: now.plus(24 * HOUR),
            retired: None,
        }),
        key_hash: Some(token("key")),
        traded: None,
        address: Some(ip("192.0.2.1")),
        agent: Some("curl".to_owned()),
    }
}

pub(crate) fn rotation(presented: &str, successor: &str, now: Timestamp) -> RefreshRotation {
    RefreshRotation {
        presented: token(presented),
        generation: None,
        successor: token(successor),
        expires: now.plus(24 * HOUR),
        access_until: now.plus(HOUR),
        grace: GRACE,
    }
}

/// Every session of a subject, in whatever realm.
pub(crate) fn everywhere(subject: &str) -> RevocationTarget {
    RevocationTarget::Subject { subject: Subject::new(subject), realm: None }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Puts a new session and answers with it.
async fn begun(store: &dyn SessionStore, subject: &str, now: Timestamp) -> Session {
    let session = session(subject, now);
    store.put(session.clone(), MANY, now).await.unwrap();
    session
}

async fn rotate(
    store: &dyn SessionStore,
    of: &Session,
    from: &str,
    to: &str,
    now: Timestamp,
) -> RotationOutcome {
    store.rotate(of.id, rotation(from, to, now), now).await.unwrap()
}

macro_rules! contract {
    ($($case:ident)*) => {
        mod embedded {
            use super::SessionStore;

            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let store = crate::store::file::open(dir.path());
                super::$case(&*store).await;
                store.close().await;
            })*
        }
    };
}

contract! {
    a_session_that_was_put_is_found_as_it_was
    an_expired_session_is_never_returned
    an_idle_session_ends_unless_it_is_used
    sessions_beyond_the_most_end_oldest_first
    ended_sessions_do_not_count_against_the_most
    sessions_are_listed_oldest_first
    a_rotation_makes_the_successor_the_working_token
    parallel_rotations_of_one_token_all_get_the_same_successor
    a_retired_token_within_grace_gets_the_same_answer
    a_retired_token_after_grace_ends_the_session
    a_token_older_than_the_retired_one_ends_the_session_even_within_grace
    without_grace_a_repetition_is_reuse
    a_token_the_session_never_had_is_unknown_and_harms_nobody
    a_revoked_session_is_gone_for_good
    a_session_revoked_while_it_is_refreshed_stays_revoked
    revoking_a_subject_ends_its_sessions_only
    the_same_subject_in_two_realms_is_two_users
    a_session_names_all_of_its_user
    revoking_all_ends_all
    pages_show_every_live_session_once
    a_session_ends_with_the_token_that_it_was_traded_for
    tokens_of_others_are_cut_off_by_their_owner
    a_token_that_has_just_been_made_works_on
    a_clock_that_was_set_back_opens_no_grace
    a_revocation_outlives_every_token_of_its_session
    a_single_token_can_be_outlawed
    a_refresh_without_rotation_needs_the_working_token
    a_rewritten_hash_does_not_end_sessions
    a_code_is_used_up_by_the_right_guess
    a_code_ends_with_its_time_and_with_its_successor
    strangers_cannot_use_up_the_guesses_of_the_owner
    the_fifth_wrong_guess_of_the_owner_kills_the_code
    codes_by_the_hour_are_limited
    failures_at_an_account_are_limited
    failures_from_an_address_are_limited
    a_stranger_cannot_lock_the_owner_out
    a_success_takes_back_what_its_address_failed
    a_right_password_takes_back_no_guesses_at_codes
    an_address_is_known_only_after_the_last_step
    a_code_with_a_ticket_is_for_who_has_it
    behind_a_shared_address_nobody_is_the_owner
    an_undecided_attempt_costs_nothing
    attempts_reserved_at_once_count_each_other
    attempts_that_come_out_of_order_do_not_empty_the_count
    lifting_limits_forgets_an_account
    a_waiting_code_is_found_until_it_is_used_or_expires
    what_is_known_of_a_user_is_found_by_id_and_by_name
    a_user_put_again_is_known_by_his_new_name_only
    users_of_one_source_are_not_anothers
    a_user_who_is_forgotten_leaves_a_name_that_another_took
    known_and_imported_users_are_counted
    a_second_step_is_kept_replaced_and_taken_away
    a_step_of_an_authenticator_is_used_up_with_all_before_it
    a_new_secret_has_its_own_steps
    one_of_many_uses_of_a_step_at_once_succeeds
    a_second_step_is_of_a_user_of_a_source
}

async fn a_session_that_was_put_is_found_as_it_was(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;

    assert_eq!(store.find(session.id, START).await.unwrap(), Some(session));
    assert_eq!(store.find(SessionId::new(START), START).await.unwrap(), None);
}

async fn an_expired_session_is_never_returned(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    let end = session.expires;

    assert_eq!(store.find(session.id, end).await.unwrap(), None);
    assert_eq!(store.list(None, 10, end).await.unwrap(), []);
    assert_eq!(rotate(store, &session, "a", "b", end).await, RotationOutcome::Gone);
    assert_eq!(store.renew(session.id, None, end, end).await.unwrap(), None);
}

async fn an_idle_session_ends_unless_it_is_used(store: &dyn SessionStore) {
    let mut idle = session("ann", START);
    idle.idle = Some(HOUR);
    store.put(idle.clone(), MANY, START).await.unwrap();

    let used = rotate(store, &idle, "a", "b", after(3000)).await;
    assert!(matches!(used, RotationOutcome::Rotated(_)));
    assert!(store.find(idle.id, after(6500)).await.unwrap().is_some(), "an hour from its use");
    assert_eq!(store.find(idle.id, after(6600)).await.unwrap(), None);
    assert_eq!(rotate(store, &idle, "b", "c", after(6600)).await, RotationOutcome::Gone);
}

async fn sessions_beyond_the_most_end_oldest_first(store: &dyn SessionStore) {
    let most = NonZeroUsize::new(2).unwrap();
    let mut ids = Vec::new();
    for nth in 0..2 {
        ids.push(begun(store, "ann", after(nth)).await.id);
    }
    let other = begun(store, "bob", START).await;

    let third = session("ann", after(2));
    let ended = store.put(third.clone(), most, after(2)).await.unwrap();

    assert_eq!(ended, [ids[0]]);
    assert!(store.revocations().session_revoked(&ids[0]));
    assert_eq!(store.find(ids[0], after(2)).await.unwrap(), None);
    for id in [ids[1], third.id, other.id] {
        assert!(store.find(id, after(2)).await.unwrap().is_some());
    }
}

async fn ended_sessions_do_not_count_against_the_most(store: &dyn SessionStore) {
    let one = NonZeroUsize::MIN;
    let first = begun(store, "ann", START).await;
    let later = first.expires;

    let ended = store.put(session("ann", later), one, later).await.unwrap();

    assert_eq!(ended, []);
}

async fn sessions_are_listed_oldest_first(store: &dyn SessionStore) {
    let mut ids = Vec::new();
    for nth in 0..3 {
        ids.push(begun(store, "ann", after(nth)).await.id);
    }
    let other = begun(store, "bob", after(3)).await;
    let ann = Subject::new("ann");
    let listed = |sessions: Vec<Session>| sessions.iter().map(|it| it.id).collect::<Vec<_>>();

    assert_eq!(listed(store.list(Some(&ann), 10, after(4)).await.unwrap()), ids);
    assert_eq!(listed(store.list(Some(&ann), 2, after(4)).await.unwrap()), ids[..2]);
    let all = listed(store.list(None, 10, after(4)).await.unwrap());
    assert_eq!(all, [ids, vec![other.id]].concat());
}

async fn a_rotation_makes_the_successor_the_working_token(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;

    let RotationOutcome::Rotated(rotated) = rotate(store, &session, "a", "b", after(60)).await
    else {
        panic!("the working token rotates");
    };

    let refresh = rotated.refresh.clone().unwrap();
    assert_eq!((refresh.number, refresh.current), (2, token("b")));
    assert_eq!(refresh.retired, Some((token("a"), after(60))));
    assert_eq!((rotated.last_used, rotated.access_until), (after(60), after(3660)));
    assert_eq!(store.find(session.id, after(60)).await.unwrap(), Some(*rotated));
}

async fn parallel_rotations_of_one_token_all_get_the_same_successor(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    let once = || store.rotate(session.id, rotation("a", "b", START), START);

    let outcomes = join_all((0..50).map(|_| once())).await;

    let mut first = 0;
    for outcome in outcomes {
        let held = match outcome.unwrap() {
            RotationOutcome::Rotated(held) => {
                first += 1;
                held
            }
            RotationOutcome::Grace(held) => held,
            other => panic!("{other:?}"),
        };
        assert_eq!(held.refresh.unwrap().current, token("b"));
    }
    assert_eq!(first, 1, "one rotates, the others repeat its answer");
}

async fn a_retired_token_within_grace_gets_the_same_answer(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    rotate(store, &session, "a", "b", after(1)).await;

    let RotationOutcome::Grace(held) = rotate(store, &session, "a", "b", after(10)).await else {
        panic!("ten seconds are not over");
    };

    let refresh = held.refresh.unwrap();
    assert_eq!((refresh.number, refresh.current), (2, token("b")));
    assert_eq!(held.access_until, after(3610), "another access token goes with it");
}

async fn a_retired_token_after_grace_ends_the_session(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    rotate(store, &session, "a", "b", after(1)).await;

    let outcome = rotate(store, &session, "a", "b", after(11)).await;

    assert!(matches!(outcome, RotationOutcome::Reuse(_)), "{outcome:?}");
    assert!(store.revocations().session_revoked(&session.id));
    assert_eq!(rotate(store, &session, "b", "c", after(12)).await, RotationOutcome::Gone);
}

async fn a_token_older_than_the_retired_one_ends_the_session_even_within_grace(
    store: &dyn SessionStore,
) {
    // By its number; or because it has none, while the working one does.
    for (oldest, number) in [("a", Some(1)), ("b", Some(2)), ("a", None)] {
        let session = begun(store, "ann", START).await;
        for (from, to, at) in [("a", "b", 1), ("b", "c", 2), ("c", "d", 3)] {
            rotate(store, &session, from, to, after(at)).await;
        }
        let rotation = RefreshRotation { generation: number, ..rotation(oldest, "b", after(4)) };

        let outcome = store.rotate(session.id, rotation, after(4)).await.unwrap();

        assert!(matches!(outcome, RotationOutcome::Reuse(_)), "{oldest}: {outcome:?}");
        assert_eq!(store.find(session.id, after(4)).await.unwrap(), None);
    }
}

async fn without_grace_a_repetition_is_reuse(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    let strict = RefreshRotation { grace: Duration::ZERO, ..rotation("a", "b", START) };
    store.rotate(session.id, strict.clone(), START).await.unwrap();

    let outcome = store.rotate(session.id, strict, START).await.unwrap();

    assert!(matches!(outcome, RotationOutcome::Reuse(_)), "{outcome:?}");
}

async fn a_token_the_session_never_had_is_unknown_and_harms_nobody(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    let mut bare = super::contract::session("ann", START);
    bare.refresh = None;
    store.put(bare.clone(), MANY, START).await.unwrap();

    // A store that was restored from a backup has not seen the session's later tokens.
    for number in [1, 2, 9] {
        let newer = RefreshRotation { generation: Some(number), ..rotation("later", "x", START) };
        let outcome = store.rotate(session.id, newer, START).await.unwrap();
        assert_eq!(outcome, RotationOutcome::Unknown, "{number}");
    }
    assert_eq!(rotate(store, &bare, "a", "x", START).await, RotationOutcome::Unknown);
    assert_eq!(store.find(session.id, START).await.unwrap(), Some(session.clone()));
    let never = super::contract::session("ann", START);
    assert_eq!(rotate(store, &never, "a", "b", START).await, RotationOutcome::Gone);
}

async fn a_revoked_session_is_gone_for_good(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;

    let ended = store.revoke(RevocationTarget::Session(session.id), START).await.unwrap();

    assert_eq!(ended, [session.id]);
    assert!(store.revocations().session_revoked(&session.id));
    store.put(session.clone(), MANY, START).await.unwrap();
    assert_eq!(store.find(session.id, START).await.unwrap(), None, "a put does not bring it back");
    assert_eq!(rotate(store, &session, "a", "b", START).await, RotationOutcome::Gone);
    assert_eq!(store.renew(session.id, None, after(1), START).await.unwrap(), None);
    assert_eq!(store.revoke(RevocationTarget::Session(session.id), START).await.unwrap(), []);
}

async fn a_session_revoked_while_it_is_refreshed_stays_revoked(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    let refresh = |_| store.rotate(session.id, rotation("a", "b", START), START);

    let (_, ended, _) = tokio::join!(
        join_all((0..20).map(refresh)),
        store.revoke(RevocationTarget::Session(session.id), START),
        join_all((0..20).map(refresh)),
    );

    assert_eq!(ended.unwrap(), [session.id]);
    assert_eq!(rotate(store, &session, "b", "c", START).await, RotationOutcome::Gone);
    assert_eq!(store.find(session.id, START).await.unwrap(), None);
    assert!(store.revocations().session_revoked(&session.id));
}

async fn revoking_a_subject_ends_its_sessions_only(store: &dyn SessionStore) {
    let first = begun(store, "ann", START).await;
    let second = begun(store, "ann", after(1)).await;
    // A name that begins with the other must not be taken for it.
    let other = begun(store, "anna", START).await;

    let ended = store.revoke(everywhere("ann"), after(2)).await.unwrap();

    assert_eq!(ended, [first.id, second.id]);
    assert!(store.find(other.id, after(2)).await.unwrap().is_some());
    assert!(!store.revocations().session_revoked(&other.id));
}

/// What both sessions of a store would have in common, were it not for their realms.
async fn in_two_realms(store: &dyn SessionStore) -> [Session; 2] {
    let here = begun(store, "7", START).await;
    let mut there = session("7", START);
    there.realm = "shop".to_owned();
    store.put(there.clone(), NonZeroUsize::MIN, START).await.unwrap();
    [here, there]
}

async fn the_same_subject_in_two_realms_is_two_users(store: &dyn SessionStore) {
    let [here, there] = in_two_realms(store).await;
    assert!(store.find(here.id, START).await.unwrap().is_some(), "the limit is of each");

    let one =
        RevocationTarget::Subject { subject: Subject::new("7"), realm: Some("shop".to_owned()) };
    assert_eq!(store.revoke(one, START).await.unwrap(), [there.id]);

    assert!(store.find(here.id, START).await.unwrap().is_some());
    assert_eq!(store.revoke(everywhere("7"), START).await.unwrap(), [here.id]);
}

async fn a_session_names_all_of_its_user(store: &dyn SessionStore) {
    let [here, there] = in_two_realms(store).await;
    let another = begun(store, "7", after(1)).await;

    let ended = store.revoke(RevocationTarget::Siblings(another.id), after(2)).await.unwrap();

    assert_eq!(ended, [here.id, another.id]);
    assert!(store.find(there.id, after(2)).await.unwrap().is_some());
    assert_eq!(store.revoke(RevocationTarget::Siblings(here.id), after(2)).await.unwrap(), []);
}

async fn pages_show_every_live_session_once(store: &dyn SessionStore) {
    let puts = (0..1100).map(|nth| {
        let begun = session(&format!("user {nth}"), after(nth % 7));
        let id = begun.id;
        async move {
            store.put(begun, MANY, START).await.unwrap();
            id
        }
    });
    let mut ids = join_all(puts).await;
    ids.sort_unstable();
    store.revoke(RevocationTarget::Session(ids.remove(17)), START).await.unwrap();

    let (mut listed, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = store.page(after, START).await.unwrap();
        assert!(page.sessions.len() <= 500, "one step of many");
        listed.extend(page.sessions.iter().map(|session| session.id));
        (pages, after) = (pages + 1, page.next);
        if after.is_none() {
            break;
        }
    }

    assert_eq!(listed, ids);
    assert_eq!(pages, 3);
}

async fn a_session_ends_with_the_token_that_it_was_traded_for(store: &dyn SessionStore) {
    let mut traded = session("ann", START);
    traded.traded = Some(token("foreign"));
    store.put(traded.clone(), MANY, START).await.unwrap();
    let other = begun(store, "ann", START).await;

    let outlaw = RevocationTarget::Token { digest: token("foreign"), until: after(100) };
    let ended = store.revoke(outlaw.clone(), after(1)).await.unwrap();

    assert_eq!(ended, [traded.id]);
    assert!(store.revocations().session_revoked(&traded.id));
    assert_eq!(rotate(store, &traded, "a", "b", after(2)).await, RotationOutcome::Gone);
    assert!(store.find(other.id, after(2)).await.unwrap().is_some());
    assert_eq!(store.revoke(outlaw, after(3)).await.unwrap(), []);
}

async fn tokens_of_others_are_cut_off_by_their_owner(store: &dyn SessionStore) {
    let foreign = |name: &str| ForeignToken {
        subject: Subject::new(name),
        username: "zoe".into(),
        issued: Some(START),
        is_takeover: false,
    };
    let of = vec![TokenOwner::Subject(Subject::new("7")), TokenOwner::named("ann")];

    assert_eq!(store.revoke(RevocationTarget::Tokens { of }, after(1)).await.unwrap(), []);

    let cutoffs = &store.revocations().cutoffs;
    assert!(cutoffs.refuse(&foreign("7"), after(2)));
    assert!(!cutoffs.refuse(&foreign("8"), after(2)));
    assert!(!cutoffs.refuse(&ForeignToken { issued: Some(after(2)), ..foreign("7") }, after(2)));
    assert!(cutoffs.refuse(&ForeignToken { username: "ann".into(), ..foreign("8") }, after(2)));
}

async fn a_token_that_has_just_been_made_works_on(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    rotate(store, &session, "a", "b", after(1)).await;
    let soon = after(1).plus(Duration::from_millis(999));

    let outcome = rotate(store, &session, "b", "c", soon).await;

    let RotationOutcome::Fresh(held) = outcome else { panic!("{outcome:?}") };
    assert_eq!(held.refresh.unwrap().current, token("b"));
    let outcome = rotate(store, &session, "b", "c", after(2)).await;
    assert!(matches!(outcome, RotationOutcome::Rotated(_)), "{outcome:?}");
}

async fn a_clock_that_was_set_back_opens_no_grace(store: &dyn SessionStore) {
    let [early, late] = [begun(store, "ann", START).await, begun(store, "bob", START).await];
    for session in [&early, &late] {
        rotate(store, session, "a", "b", after(3600)).await;
    }

    let outcome = rotate(store, &early, "a", "b", after(3595)).await;
    assert!(
        matches!(outcome, RotationOutcome::Grace(_)),
        "requests come out of order: {outcome:?}"
    );
    let outcome = rotate(store, &late, "a", "b", after(60)).await;
    assert!(matches!(outcome, RotationOutcome::Reuse(_)), "{outcome:?}");
}

async fn revoking_all_ends_all(store: &dyn SessionStore) {
    for nth in 0..20 {
        begun(store, &format!("user {nth}"), START).await;
    }

    assert_eq!(store.revoke(RevocationTarget::All, START).await.unwrap().len(), 20);
    assert_eq!(store.list(None, 100, START).await.unwrap(), []);
    assert_eq!(store.revocations().len(), 20);
}

async fn a_revocation_outlives_every_token_of_its_session(store: &dyn SessionStore) {
    let mut short = session("ann", START);
    short.expires = after(10);
    let access_until = short.access_until;
    store.put(short.clone(), MANY, START).await.unwrap();
    store.revoke(RevocationTarget::Session(short.id), START).await.unwrap();

    let leeway = Duration::from_secs(30);
    store.revocations().sweep(access_until.plus(leeway + Duration::from_secs(299)));
    assert!(store.revocations().session_revoked(&short.id), "leeway and five minutes are added");

    store.revocations().sweep(access_until.plus(leeway + Duration::from_secs(300)));
    assert!(!store.revocations().session_revoked(&short.id), "no token can be good any more");
    assert_eq!(
        rotate(store, &short, "a", "b", START).await,
        RotationOutcome::Gone,
        "nor refreshed"
    );
}

async fn a_single_token_can_be_outlawed(store: &dyn SessionStore) {
    let outlaw = |until| RevocationTarget::Token { digest: token("foreign"), until };

    assert_eq!(store.revoke(outlaw(after(100)), START).await.unwrap(), []);
    assert_eq!(store.revoke(outlaw(after(50)), START).await.unwrap(), []);

    store.revocations().sweep(after(99));
    assert!(store.revocations().token_revoked(&token("foreign")), "the later end holds");
    store.revocations().sweep(after(100));
    assert!(!store.revocations().token_revoked(&token("foreign")));
}

async fn a_refresh_without_rotation_needs_the_working_token(store: &dyn SessionStore) {
    let session = begun(store, "ann", START).await;
    let renew = |presented| store.renew(session.id, presented, after(5000), after(5));

    let renewed = renew(Some(token("a"))).await.unwrap().unwrap();
    assert_eq!((renewed.last_used, renewed.access_until), (after(5), after(5000)));
    assert_eq!(renew(Some(token("b"))).await.unwrap(), None);
    assert!(renew(None).await.unwrap().is_some(), "where the dialect has no refresh token");
}

async fn a_rewritten_hash_does_not_end_sessions(store: &dyn SessionStore) {
    let before = begun(store, "ann", START).await;
    let other = begun(store, "bob", START).await;
    let (old, new) = (token("version 1"), token("version 2"));

    let (id, subject) = (UserId::new("ann"), Subject::new("ann"));
    let holder = |source| UserRef { source, id: &id, subject: &subject };
    store.rehashed(holder("shop"), old, new).await.unwrap();
    let held = store.find(before.id, START).await.unwrap().unwrap();
    assert_eq!(held.user_version, old, "another source has another hash");
    store.rehashed(holder("staff"), old, new).await.unwrap();

    let late = begun(store, "ann", after(1)).await;
    for id in [before.id, late.id] {
        assert_eq!(store.find(id, after(1)).await.unwrap().unwrap().user_version, new);
    }
    assert_eq!(store.find(other.id, after(1)).await.unwrap().unwrap().user_version, old);
}

fn code(word: &str) -> OneTimeCode {
    OneTimeCode {
        username: "alice".to_owned(),
        key: token("ann's key"),
        code: token(word),
        user_id: UserId::new("ann"),
        source: "staff".to_owned(),
        user_version: token("version 1"),
        expires: after(600),
        address: Some(ip("192.0.2.1")),
        ticket: None,
    }
}

async fn guess(store: &dyn SessionStore, word: &str, from: &str, now: Timestamp) -> CodeVerdict {
    let (key, address) = (token("ann's key"), Some(ip(from)));
    let guess = CodeGuess { key, code: token(word), address, ticket: None };
    store.use_code(guess, now).await.unwrap()
}

const OWNER: &str = "192.0.2.1";
const STRANGER: &str = "203.0.113.9";

async fn a_code_is_used_up_by_the_right_guess(store: &dyn SessionStore) {
    store.put_code(code("123456"), 5, START).await.unwrap();

    assert_eq!(guess(store, "000000", OWNER, START).await, CodeVerdict::Wrong);
    let right = guess(store, "123456", OWNER, after(1)).await;
    assert_eq!(right, CodeVerdict::Right(Box::new(code("123456"))));
    assert_eq!(guess(store, "123456", OWNER, after(2)).await, CodeVerdict::Gone);
}

async fn a_code_ends_with_its_time_and_with_its_successor(store: &dyn SessionStore) {
    store.put_code(code("123456"), 5, START).await.unwrap();
    assert_eq!(guess(store, "123456", OWNER, after(600)).await, CodeVerdict::Gone);

    store.put_code(code("654321"), 5, START).await.unwrap();
    assert_eq!(guess(store, "123456", OWNER, START).await, CodeVerdict::Wrong);
    assert!(matches!(guess(store, "654321", OWNER, START).await, CodeVerdict::Right(_)));
}

async fn strangers_cannot_use_up_the_guesses_of_the_owner(store: &dyn SessionStore) {
    store.put_code(code("123456"), 5, START).await.unwrap();
    for nth in 0..15 {
        let from = format!("203.0.113.{nth}");
        assert_eq!(guess(store, "000000", &from, START).await, CodeVerdict::Wrong);
    }

    assert_eq!(guess(store, "123456", STRANGER, START).await, CodeVerdict::Gone);
    assert!(matches!(guess(store, "123456", OWNER, START).await, CodeVerdict::Right(_)));
}

async fn the_fifth_wrong_guess_of_the_owner_kills_the_code(store: &dyn SessionStore) {
    store.put_code(code("123456"), 5, START).await.unwrap();
    for _ in 0..5 {
        assert_eq!(guess(store, "000000", OWNER, START).await, CodeVerdict::Wrong);
    }

    assert_eq!(guess(store, "123456", OWNER, START).await, CodeVerdict::Gone);
    assert_eq!(guess(store, "123456", STRANGER, START).await, CodeVerdict::Gone);
}

async fn codes_by_the_hour_are_limited(store: &dyn SessionStore) {
    for _ in 0..3 {
        assert_eq!(store.put_code(code("1"), 3, START).await.unwrap(), PutCode::Kept);
    }

    let fourth = store.put_code(code("2"), 3, after(600)).await.unwrap();

    assert_eq!(fourth, PutCode::TooMany { retry_after: Duration::from_secs(3000) });
    assert!(matches!(guess(store, "1", OWNER, START).await, CodeVerdict::Right(_)));
    assert_eq!(store.put_code(code("2"), 3, after(3600)).await.unwrap(), PutCode::Kept);
}

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// Three failures at an account and five from an address, in ten minutes.
fn attempt(account: &str, from: Option<&str>) -> LoginAttempt {
    LoginAttempt {
        account: token(account),
        kind: AttemptKind::Password,
        address: from.map(ip),
        per_account: (3, TEN_MINUTES),
        per_address: (5, TEN_MINUTES),
    }
}

async fn reserve(
    store: &dyn SessionStore,
    who: &str,
    from: &str,
    now: Timestamp,
) -> AttemptAdmission {
    store.count_attempt(attempt(who, Some(from)), now).await.unwrap()
}

async fn failures_at_an_account_are_limited(store: &dyn SessionStore) {
    for nth in 0..3 {
        let from = format!("203.0.113.{nth}");
        assert_eq!(reserve(store, "ann", &from, START).await, AttemptAdmission::Admitted);
    }

    for from in [STRANGER, "2001:db8::"] {
        let limited = reserve(store, "ann", from, after(60)).await;
        let retry_after = Duration::from_secs(540);
        assert_eq!(limited, AttemptAdmission::Limited { retry_after, account: true });
    }
    assert_eq!(reserve(store, "bob", STRANGER, after(60)).await, AttemptAdmission::Admitted);
    assert_eq!(reserve(store, "ann", STRANGER, after(600)).await, AttemptAdmission::Admitted);
}

async fn failures_from_an_address_are_limited(store: &dyn SessionStore) {
    for nth in 0..5 {
        let admitted = reserve(store, &format!("user {nth}"), STRANGER, START).await;
        assert_eq!(admitted, AttemptAdmission::Admitted);
    }

    let limited = reserve(store, "ann", STRANGER, after(100)).await;
    let retry_after = Duration::from_secs(500);
    assert_eq!(limited, AttemptAdmission::Limited { retry_after, account: false });
    assert_eq!(reserve(store, "ann", OWNER, after(100)).await, AttemptAdmission::Admitted);
    let uncounted = store.count_attempt(attempt("bob", None), after(100)).await.unwrap();
    assert_eq!(uncounted, AttemptAdmission::Admitted, "a shared address is not counted");
}

async fn a_stranger_cannot_lock_the_owner_out(store: &dyn SessionStore) {
    store.count_attempt(attempt("ann", Some(OWNER)), START).await.unwrap();
    store
        .attempt_succeeded(attempt("ann", Some(OWNER)), LoginProgress::Login, START)
        .await
        .unwrap();
    for _ in 0..3 {
        reserve(store, "ann", STRANGER, after(1)).await;
    }

    for _ in 0..3 {
        assert_eq!(reserve(store, "ann", OWNER, after(2)).await, AttemptAdmission::Admitted);
    }
    let limited = reserve(store, "ann", OWNER, after(2)).await;
    assert!(
        matches!(limited, AttemptAdmission::Limited { account: true, .. }),
        "it has its own count"
    );

    let days = |days: u64| START.plus(Duration::from_secs(days * 24 * 3600));
    for _ in 0..3 {
        reserve(store, "ann", STRANGER, days(31)).await;
    }
    let limited = reserve(store, "ann", OWNER, days(31)).await;
    assert!(matches!(limited, AttemptAdmission::Limited { .. }), "thirty days are over");
}

async fn a_success_takes_back_what_its_address_failed(store: &dyn SessionStore) {
    reserve(store, "ann", STRANGER, START).await;
    for _ in 0..2 {
        reserve(store, "ann", OWNER, START).await;
    }

    store
        .attempt_succeeded(attempt("ann", Some(OWNER)), LoginProgress::Login, after(1))
        .await
        .unwrap();

    for _ in 0..2 {
        assert_eq!(reserve(store, "ann", STRANGER, after(2)).await, AttemptAdmission::Admitted);
    }
    let limited = reserve(store, "ann", STRANGER, after(2)).await;
    assert!(matches!(limited, AttemptAdmission::Limited { .. }), "the other's failure stays");
}

fn at_code(from: Option<&str>) -> LoginAttempt {
    LoginAttempt { kind: AttemptKind::Code, ..attempt("ann", from) }
}

async fn a_right_password_takes_back_no_guesses_at_codes(store: &dyn SessionStore) {
    for _ in 0..3 {
        store.count_attempt(at_code(Some(OWNER)), START).await.unwrap();
        let password = attempt("ann", Some(OWNER));
        assert_eq!(
            store.count_attempt(password.clone(), START).await.unwrap(),
            AttemptAdmission::Admitted
        );
        store.attempt_succeeded(password, LoginProgress::Step, START).await.unwrap();
    }

    let limited = store.count_attempt(at_code(Some(OWNER)), START).await.unwrap();

    assert!(matches!(limited, AttemptAdmission::Limited { account: true, .. }), "{limited:?}");
    store.lift_limits(token("ann"), START).await.unwrap();
    let admitted = store.count_attempt(at_code(Some(OWNER)), START).await.unwrap();
    assert_eq!(admitted, AttemptAdmission::Admitted, "both are lifted at once");
}

async fn an_address_is_known_only_after_the_last_step(store: &dyn SessionStore) {
    for (progress, is_known) in [(LoginProgress::Step, false), (LoginProgress::Login, true)] {
        store.lift_limits(token("ann"), START).await.unwrap();
        store.count_attempt(attempt("ann", Some(OWNER)), START).await.unwrap();
        store.attempt_succeeded(attempt("ann", Some(OWNER)), progress, START).await.unwrap();
        for nth in 0..3 {
            reserve(store, "ann", &format!("203.0.113.{nth}"), START).await;
        }

        let admission = reserve(store, "ann", OWNER, START).await;

        assert_eq!(
            admission == AttemptAdmission::Admitted,
            is_known,
            "{progress:?}: {admission:?}"
        );
    }
}

async fn a_code_with_a_ticket_is_for_who_has_it(store: &dyn SessionStore) {
    let bound = OneTimeCode { ticket: Some(token("ticket")), ..code("123456") };
    store.put_code(bound.clone(), 5, START).await.unwrap();
    let guess = |word: &str, ticket: Option<&str>, from: &str| {
        let (key, address) = (token("ann's key"), Some(ip(from)));
        CodeGuess { key, code: token(word), address, ticket: ticket.map(token) }
    };

    // However often: the owner's guesses are not touched, nor is anything told.
    for _ in 0..20 {
        for ticket in [None, Some("another")] {
            let stranger = guess("123456", ticket, OWNER);
            assert_eq!(store.use_code(stranger, START).await.unwrap(), CodeVerdict::Gone);
        }
    }

    // From wherever: a telephone changes its address between two steps.
    let wrong = guess("000000", Some("ticket"), STRANGER);
    for _ in 0..4 {
        assert_eq!(store.use_code(wrong.clone(), START).await.unwrap(), CodeVerdict::Wrong);
    }
    let right = store.use_code(guess("123456", Some("ticket"), STRANGER), START).await.unwrap();
    assert_eq!(right, CodeVerdict::Right(Box::new(bound)));
}

async fn behind_a_shared_address_nobody_is_the_owner(store: &dyn SessionStore) {
    store.put_code(OneTimeCode { address: None, ..code("123456") }, 5, START).await.unwrap();
    let guess = |word: &str| CodeGuess {
        key: token("ann's key"),
        code: token(word),
        address: None,
        ticket: None,
    };

    for _ in 0..15 {
        assert_eq!(store.use_code(guess("000000"), START).await.unwrap(), CodeVerdict::Wrong);
    }

    assert_eq!(store.use_code(guess("123456"), START).await.unwrap(), CodeVerdict::Gone);
    let owner = CodeGuess { address: Some(ip(OWNER)), ..guess("123456") };
    assert_eq!(store.use_code(owner, START).await.unwrap(), CodeVerdict::Gone);
}

async fn an_undecided_attempt_costs_nothing(store: &dyn SessionStore) {
    for from in [Some(OWNER), None] {
        for _ in 0..20 {
            let admitted = store.count_attempt(attempt("ann", from), START).await.unwrap();
            assert_eq!(admitted, AttemptAdmission::Admitted);
            store.attempt_undecided(attempt("ann", from), after(1)).await.unwrap();
        }
    }
}

async fn attempts_reserved_at_once_count_each_other(store: &dyn SessionStore) {
    let outcomes =
        join_all((0..30).map(|_| store.count_attempt(attempt("ann", Some(OWNER)), START))).await;

    let admitted =
        outcomes.iter().flatten().filter(|it| **it == AttemptAdmission::Admitted).count();
    assert_eq!(admitted, 3);
}

async fn attempts_that_come_out_of_order_do_not_empty_the_count(store: &dyn SessionStore) {
    for late in [9, 3, 0] {
        assert_eq!(reserve(store, "ann", OWNER, after(late)).await, AttemptAdmission::Admitted);
    }

    let limited = reserve(store, "ann", OWNER, after(1)).await;

    assert!(matches!(limited, AttemptAdmission::Limited { .. }), "{limited:?}");
}

async fn lifting_limits_forgets_an_account(store: &dyn SessionStore) {
    for nth in 0..3 {
        reserve(store, "ann", &format!("203.0.113.{nth}"), START).await;
        reserve(store, "bob", &format!("203.0.113.{nth}"), START).await;
    }

    store.lift_limits(token("ann"), START).await.unwrap();

    assert_eq!(reserve(store, "ann", OWNER, START).await, AttemptAdmission::Admitted);
    let limited = reserve(store, "bob", OWNER, START).await;
    assert!(matches!(limited, AttemptAdmission::Limited { .. }));
}

async fn a_waiting_code_is_found_until_it_is_used_or_expires(store: &dyn SessionStore) {
    let sent = code("000000");
    store.put_code(sent.clone(), 5, START).await.unwrap();

    let found = store.find_code(sent.key, after(1)).await.unwrap();
    assert_eq!(found.as_ref(), Some(&sent));
    assert_eq!(store.find_code(token("another key"), after(1)).await.unwrap(), None);
    assert_eq!(store.find_code(sent.key, sent.expires).await.unwrap(), None, "expired");
    let verdict = guess(store, "000000", OWNER, after(2)).await;
    assert_eq!(verdict, CodeVerdict::Right(Box::new(sent.clone())), "looking used nothing up");
    assert_eq!(store.find_code(sent.key, after(3)).await.unwrap(), None, "used up");
}

/// What is known of a user of `source`.
pub(crate) fn account(source: &str, id: &str, key: &str) -> KnownAccount {
    KnownAccount {
        source: source.to_owned(),
        subject: UserId::new(id),
        name: key.to_uppercase(),
        key: key.to_owned(),
        email: Some(format!("{key}@example.com")),
        roles: vec!["admin".to_owned()],
        scopes: vec!["read".to_owned()],
        claims: serde_json::from_str(r#"{"tenant":"acme"}"#).unwrap(),
        version: token("version 1"),
        hash: None,
        origin: None,
        spelling: None,
        imported: None,
        seen: START,
    }
}

/// The same with a hash of ours, taken at `when`.
fn imported(account: KnownAccount, when: Timestamp) -> KnownAccount {
    let hash = Some("$argon2id$".to_owned());
    KnownAccount { hash, origin: Some(token("theirs")), imported: Some(when), ..account }
}

async fn known(store: &dyn SessionStore, source: &str, by: AccountKey<'_>) -> Option<KnownAccount> {
    store.find_account(source, by).await.unwrap()
}

async fn what_is_known_of_a_user_is_found_by_id_and_by_name(store: &dyn SessionStore) {
    let ann = imported(account("ldap", "1", "ann"), START);
    store.put_account(ann.clone()).await.unwrap();

    let by_id = known(store, "ldap", AccountKey::Subject(&ann.subject)).await;
    let by_name = known(store, "ldap", AccountKey::Name("ann")).await;

    assert_eq!((by_id.as_ref(), by_name.as_ref()), (Some(&ann), Some(&ann)));
    assert_eq!(known(store, "ldap", AccountKey::Name("ANN")).await, None, "as it is spelled");
    assert_eq!(known(store, "ldap", AccountKey::Name("")).await, None);
    assert_eq!(known(store, "ldap", AccountKey::Subject(&UserId::new("2"))).await, None);
}

async fn a_user_put_again_is_known_by_his_new_name_only(store: &dyn SessionStore) {
    store.put_account(account("ldap", "1", "ann")).await.unwrap();
    let married = KnownAccount { seen: after(60), ..account("ldap", "1", "anne") };

    store.put_account(married.clone()).await.unwrap();

    assert_eq!(known(store, "ldap", AccountKey::Name("ann")).await, None);
    assert_eq!(known(store, "ldap", AccountKey::Name("anne")).await, Some(married.clone()));
    let by_id = known(store, "ldap", AccountKey::Subject(&married.subject)).await;
    assert_eq!(by_id, Some(married));
}

async fn users_of_one_source_are_not_anothers(store: &dyn SessionStore) {
    let (one, other) = (account("ldap", "1", "ann"), account("ldapx", "1", "ann"));
    store.put_account(one.clone()).await.unwrap();
    store.put_account(other.clone()).await.unwrap();

    store.remove_account("ldap", &one.subject).await.unwrap();

    assert_eq!(known(store, "ldap", AccountKey::Name("ann")).await, None);
    assert_eq!(known(store, "ldap", AccountKey::Subject(&one.subject)).await, None);
    assert_eq!(known(store, "ldapx", AccountKey::Name("ann")).await, Some(other));
    assert_eq!(known(store, "lda", AccountKey::Name("ann")).await, None, "half a name");
}

async fn a_user_who_is_forgotten_leaves_a_name_that_another_took(store: &dyn SessionStore) {
    store.put_account(account("ldap", "1", "ann")).await.unwrap();
    let second = account("ldap", "2", "ann");
    store.put_account(second.clone()).await.unwrap();

    store.remove_account("ldap", &UserId::new("1")).await.unwrap();
    store.remove_account("ldap", &UserId::new("3")).await.unwrap();

    assert_eq!(known(store, "ldap", AccountKey::Name("ann")).await, Some(second));
}

async fn known_and_imported_users_are_counted(store: &dyn SessionStore) {
    assert_eq!(store.account_counts("http").await.unwrap(), AccountCounts::default());
    store.put_account(account("http", "1", "ann")).await.unwrap();
    store.put_account(imported(account("http", "2", "bob"), after(60))).await.unwrap();
    store.put_account(imported(account("http", "3", "cid"), after(30))).await.unwrap();
    store.put_account(imported(account("httpx", "4", "dan"), after(10))).await.unwrap();

    let counts = store.account_counts("http").await.unwrap();

    let (first, latest) = (Some(after(30)), Some(after(60)));
    assert_eq!(counts, AccountCounts { known: 3, imported: 2, first, latest });
}

fn totp(secret: u8, made: Timestamp) -> TotpSecret {
    TotpSecret { secret: Secret::new(vec![secret; 20]), made }
}

async fn a_second_step_is_kept_replaced_and_taken_away(store: &dyn SessionStore) {
    let (ann, bob) = (UserId::new("ann"), UserId::new("bob"));
    assert_eq!(store.find_totp("staff", &ann).await.unwrap(), None);
    store.put_totp("staff", &ann, Some(totp(1, START))).await.unwrap();
    store.put_totp("staff", &bob, Some(totp(2, START))).await.unwrap();
    assert_eq!(store.find_totp("staff", &ann).await.unwrap(), Some(totp(1, START)));

    store.put_totp("staff", &ann, Some(totp(3, after(1)))).await.unwrap();
    assert_eq!(store.find_totp("staff", &ann).await.unwrap(), Some(totp(3, after(1))));

    store.put_totp("staff", &ann, None).await.unwrap();
    assert_eq!(store.find_totp("staff", &ann).await.unwrap(), None);
    assert_eq!(store.find_totp("staff", &bob).await.unwrap(), Some(totp(2, START)));
}

async fn a_step_of_an_authenticator_is_used_up_with_all_before_it(store: &dyn SessionStore) {
    let ann = UserId::new("ann");
    let using = async |step| store.use_totp_step("staff", &ann, step).await.unwrap();
    assert!(!using(100).await, "he has none");
    store.put_totp("staff", &ann, Some(totp(1, START))).await.unwrap();

    assert!(using(100).await);
    assert!(!using(100).await, "twice");
    assert!(!using(99).await, "one before");
    assert!(using(101).await);
    store.put_totp("staff", &ann, None).await.unwrap();
    assert!(!using(102).await, "taken away");
}

async fn a_new_secret_has_its_own_steps(store: &dyn SessionStore) {
    let ann = UserId::new("ann");
    store.put_totp("staff", &ann, Some(totp(1, START))).await.unwrap();
    assert!(store.use_totp_step("staff", &ann, 100).await.unwrap());

    store.put_totp("staff", &ann, Some(totp(2, after(1)))).await.unwrap();

    assert!(store.use_totp_step("staff", &ann, 100).await.unwrap());
}

async fn one_of_many_uses_of_a_step_at_once_succeeds(store: &dyn SessionStore) {
    let ann = UserId::new("ann");
    store.put_totp("staff", &ann, Some(totp(1, START))).await.unwrap();

    let uses = join_all((0..20).map(|_| store.use_totp_step("staff", &ann, 100))).await;

    assert_eq!(uses.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
}

async fn a_second_step_is_of_a_user_of_a_source(store: &dyn SessionStore) {
    let seven = UserId::new("7");
    store.put_totp("staff", &seven, Some(totp(1, START))).await.unwrap();
    assert_eq!(store.find_totp("shop", &seven).await.unwrap(), None);
    assert!(!store.use_totp_step("shop", &seven, 100).await.unwrap());
    store.put_totp("shop", &seven, Some(totp(2, START))).await.unwrap();
    assert!(store.use_totp_step("shop", &seven, 100).await.unwrap());

    store.put_totp("shop", &seven, None).await.unwrap();

    assert_eq!(store.find_totp("staff", &seven).await.unwrap(), Some(totp(1, START)));
    assert!(store.use_totp_step("staff", &seven, 100).await.unwrap());
    assert_eq!(store.find_totp("sta", &UserId::new("ff7")).await.unwrap(), None);
}
