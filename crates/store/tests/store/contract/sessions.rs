//! The contract of every store, as to sessions, their refresh tokens and their end.

use super::*;

contract! {
    a_kept_credential_is_replaced_and_goes_with_its_session
    the_end_of_an_opaque_token_moves_forward_while_its_session_lists_it
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
    a_token_that_was_given_out_again_works_on
    a_clock_that_was_set_back_opens_no_grace
    a_revocation_outlives_every_token_of_its_session
    a_single_token_can_be_outlawed
    a_refresh_without_rotation_needs_the_working_token
    a_rewritten_hash_does_not_end_sessions
}

async fn a_session_that_was_put_is_found_as_it_was(store: &dyn Store) {
    let session = begun(store, "ann", START).await;

    assert_eq!(store.find(session.id, START).await.unwrap(), Some(session));
    assert_eq!(store.find(SessionId::new(START), START).await.unwrap(), None);
}

async fn an_expired_session_is_never_returned(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    let end = session.expires;

    assert_eq!(store.find(session.id, end).await.unwrap(), None);
    assert_eq!(store.list(None, 10, end).await.unwrap(), []);
    assert_eq!(rotate(store, &session, "a", "b", end).await, RotationOutcome::Gone);
    assert_eq!(store.renew(session.id, None, end, None, end).await.unwrap(), None);
}

async fn an_idle_session_ends_unless_it_is_used(store: &dyn Store) {
    let mut idle = session("ann", START);
    idle.idle = Some(HOUR);
    store.put(idle.clone(), MANY, START).await.unwrap();

    let used = rotate(store, &idle, "a", "b", after(3000)).await;
    assert!(matches!(used, RotationOutcome::Rotated(_)));
    assert!(store.find(idle.id, after(6500)).await.unwrap().is_some(), "an hour from its use");
    assert_eq!(store.find(idle.id, after(6600)).await.unwrap(), None);
    assert_eq!(rotate(store, &idle, "b", "c", after(6600)).await, RotationOutcome::Gone);
}

async fn sessions_beyond_the_most_end_oldest_first(store: &dyn Store) {
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

async fn ended_sessions_do_not_count_against_the_most(store: &dyn Store) {
    let one = NonZeroUsize::MIN;
    let first = begun(store, "ann", START).await;
    let later = first.expires;

    let ended = store.put(session("ann", later), one, later).await.unwrap();

    assert_eq!(ended, []);
}

async fn sessions_are_listed_oldest_first(store: &dyn Store) {
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

async fn a_rotation_makes_the_successor_the_working_token(store: &dyn Store) {
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

async fn parallel_rotations_of_one_token_all_get_the_same_successor(store: &dyn Store) {
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

async fn a_retired_token_within_grace_gets_the_same_answer(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    rotate(store, &session, "a", "b", after(1)).await;

    let RotationOutcome::Grace(held) = rotate(store, &session, "a", "b", after(10)).await else {
        panic!("ten seconds are not over");
    };

    let refresh = held.refresh.unwrap();
    assert_eq!((refresh.number, refresh.current), (2, token("b")));
    assert_eq!(held.access_until, after(3610), "another access token goes with it");
}

async fn a_retired_token_after_grace_ends_the_session(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    rotate(store, &session, "a", "b", after(1)).await;

    let outcome = rotate(store, &session, "a", "b", after(11)).await;

    assert!(matches!(outcome, RotationOutcome::Reuse(_)), "{outcome:?}");
    assert!(store.revocations().session_revoked(&session.id));
    assert_eq!(rotate(store, &session, "b", "c", after(12)).await, RotationOutcome::Gone);
}

async fn a_token_older_than_the_retired_one_ends_the_session_even_within_grace(store: &dyn Store) {
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

async fn without_grace_a_repetition_is_reuse(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    let strict = RefreshRotation { grace: Duration::ZERO, ..rotation("a", "b", START) };
    store.rotate(session.id, strict.clone(), START).await.unwrap();

    let outcome = store.rotate(session.id, strict, START).await.unwrap();

    assert!(matches!(outcome, RotationOutcome::Reuse(_)), "{outcome:?}");
}

async fn a_token_the_session_never_had_is_unknown_and_harms_nobody(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    let mut bare = super::session("ann", START);
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
    let never = super::session("ann", START);
    assert_eq!(rotate(store, &never, "a", "b", START).await, RotationOutcome::Gone);
}

async fn a_revoked_session_is_gone_for_good(store: &dyn Store) {
    let session = begun(store, "ann", START).await;

    let ended = store.revoke(RevocationTarget::Session(session.id), START).await.unwrap();

    assert_eq!(ended, [session.id]);
    assert!(store.revocations().session_revoked(&session.id));
    store.put(session.clone(), MANY, START).await.unwrap();
    assert_eq!(store.find(session.id, START).await.unwrap(), None, "a put does not bring it back");
    assert_eq!(rotate(store, &session, "a", "b", START).await, RotationOutcome::Gone);
    assert_eq!(store.renew(session.id, None, after(1), None, START).await.unwrap(), None);
    assert_eq!(store.revoke(RevocationTarget::Session(session.id), START).await.unwrap(), []);
}

async fn a_session_revoked_while_it_is_refreshed_stays_revoked(store: &dyn Store) {
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

async fn revoking_a_subject_ends_its_sessions_only(store: &dyn Store) {
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
async fn in_two_realms(store: &dyn Store) -> [Session; 2] {
    let here = begun(store, "7", START).await;
    let mut there = session("7", START);
    there.realm = "shop".to_owned();
    store.put(there.clone(), NonZeroUsize::MIN, START).await.unwrap();
    [here, there]
}

async fn the_same_subject_in_two_realms_is_two_users(store: &dyn Store) {
    let [here, there] = in_two_realms(store).await;
    assert!(store.find(here.id, START).await.unwrap().is_some(), "the limit is of each");

    let one =
        RevocationTarget::Subject { subject: Subject::new("7"), realm: Some("shop".to_owned()) };
    assert_eq!(store.revoke(one, START).await.unwrap(), [there.id]);

    assert!(store.find(here.id, START).await.unwrap().is_some());
    assert_eq!(store.revoke(everywhere("7"), START).await.unwrap(), [here.id]);
}

async fn a_session_names_all_of_its_user(store: &dyn Store) {
    let [here, there] = in_two_realms(store).await;
    let another = begun(store, "7", after(1)).await;

    let ended = store.revoke(RevocationTarget::Siblings(another.id), after(2)).await.unwrap();

    assert_eq!(ended, [here.id, another.id]);
    assert!(store.find(there.id, after(2)).await.unwrap().is_some());
    assert_eq!(store.revoke(RevocationTarget::Siblings(here.id), after(2)).await.unwrap(), []);
}

async fn pages_show_every_live_session_once(store: &dyn Store) {
    let puts = (0..1100).map(|nth| {
        let begun = session(&format!("user {nth}"), after(nth % 7));
        let id = begun.id;
        async move {
            store.put(begun, MANY, START).await.unwrap();
            id
        }
    });
    // As many at once as a store must carry out within the time that a client waits.
    let mut ids: Vec<_> = stream::iter(puts).buffered(50).collect().await;
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

async fn a_session_ends_with_the_token_that_it_was_traded_for(store: &dyn Store) {
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

async fn tokens_of_others_are_cut_off_by_their_owner(store: &dyn Store) {
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

async fn a_token_that_has_just_been_made_works_on(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    rotate(store, &session, "a", "b", after(1)).await;
    let soon = after(1).plus(Duration::from_millis(999));

    let outcome = rotate(store, &session, "b", "c", soon).await;

    let RotationOutcome::Fresh(held) = outcome else { panic!("{outcome:?}") };
    assert_eq!(held.refresh.unwrap().current, token("b"));
    let outcome = rotate(store, &session, "b", "c", after(2)).await;
    assert!(matches!(outcome, RotationOutcome::Rotated(_)), "{outcome:?}");
}

/// A client presents one token in two requests at once, long after the rotation whose answer it
/// lost. The first request is answered with the successor, and that is presented before the second
/// request is decided.
async fn a_token_that_was_given_out_again_works_on(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    rotate(store, &session, "a", "b", after(1)).await;
    let first = rotate(store, &session, "a", "b", after(5)).await;
    assert!(matches!(first, RotationOutcome::Grace(_)), "{first:?}");
    let soon = after(5).plus(Duration::from_millis(900));

    let next = rotate(store, &session, "b", "c", soon).await;
    let second = rotate(store, &session, "a", "b", soon).await;

    assert!(matches!(next, RotationOutcome::Fresh(_)), "{next:?}");
    assert!(matches!(second, RotationOutcome::Grace(_)), "{second:?}");
    let later = rotate(store, &session, "b", "c", after(7)).await;
    assert!(matches!(later, RotationOutcome::Rotated(_)), "{later:?}");
    let beyond = rotate(store, &session, "b", "c", after(17)).await;
    assert!(matches!(beyond, RotationOutcome::Reuse(_)), "no longer grace: {beyond:?}");
}

async fn a_clock_that_was_set_back_opens_no_grace(store: &dyn Store) {
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

async fn revoking_all_ends_all(store: &dyn Store) {
    for nth in 0..20 {
        begun(store, &format!("user {nth}"), START).await;
    }

    assert_eq!(store.revoke(RevocationTarget::All, START).await.unwrap().len(), 20);
    assert_eq!(store.list(None, 100, START).await.unwrap(), []);
    assert_eq!(store.revocations().len(), 20);
}

async fn a_revocation_outlives_every_token_of_its_session(store: &dyn Store) {
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

async fn a_single_token_can_be_outlawed(store: &dyn Store) {
    let outlaw = |until| RevocationTarget::Token { digest: token("foreign"), until };

    assert_eq!(store.revoke(outlaw(after(100)), START).await.unwrap(), []);
    assert_eq!(store.revoke(outlaw(after(50)), START).await.unwrap(), []);

    store.revocations().sweep(after(99));
    assert!(store.revocations().token_revoked(&token("foreign")), "the later end holds");
    store.revocations().sweep(after(100));
    assert!(!store.revocations().token_revoked(&token("foreign")));
}

async fn a_refresh_without_rotation_needs_the_working_token(store: &dyn Store) {
    let session = begun(store, "ann", START).await;
    let renew = |presented| store.renew(session.id, presented, after(5000), None, after(5));

    let renewed = renew(Some(token("a"))).await.unwrap().unwrap();
    assert_eq!((renewed.last_used, renewed.access_until), (after(5), after(5000)));
    assert_eq!(renew(Some(token("b"))).await.unwrap(), None);
    assert!(renew(None).await.unwrap().is_some(), "where the dialect has no refresh token");
}

async fn a_rewritten_hash_does_not_end_sessions(store: &dyn Store) {
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

async fn a_kept_credential_is_replaced_and_goes_with_its_session(store: &dyn Store) {
    use tollhouse_store::shared::Seal;
    use tollhouse_store::{CredentialPlace, SealedCredential};

    let seal = Seal::new(&Secret::new([3; 32]));
    let begun = session("ann", START);
    let place = CredentialPlace::Session(begun.id);
    let sealed = |text: &str| SealedCredential::seal(&seal, place, text.as_bytes()).unwrap();
    let most = NonZeroUsize::new(10).unwrap();
    let kept = Some(sealed("first"));
    store.put(Session { kept, ..begun.clone() }, most, START).await.unwrap();

    assert!(store.keep_credential(begun.id, sealed("second"), START).await.unwrap());

    let found = store.find(begun.id, START).await.unwrap().unwrap();
    assert_eq!(found.kept.unwrap().open(&seal, place).unwrap().expose(), b"second");
    assert_eq!(found.expires, begun.expires, "nothing else changes");
    store.revoke(RevocationTarget::Session(begun.id), START).await.unwrap();
    assert!(!store.keep_credential(begun.id, sealed("third"), START).await.unwrap());
    assert_eq!(store.find(begun.id, START).await.unwrap(), None);
}

async fn the_end_of_an_opaque_token_moves_forward_while_its_session_lists_it(store: &dyn Store) {
    use tollhouse_core::secret::Digest;
    use tollhouse_store::OpaqueToken;

    let most = NonZeroUsize::new(10).unwrap();
    let opaque = |name: &str, end| OpaqueToken {
        digest: Digest::of(name.as_bytes()),
        issued: START,
        expires: end,
    };
    let first = opaque("first", after(60));
    let begun = Session { tokens: vec![first], ..session("ann", START) };
    store.put(begun.clone(), most, START).await.unwrap();
    let end = async |digest| {
        let found = store.find_by_token(digest, after(1)).await.unwrap();
        found.and_then(|session| session.token(&digest).map(|token| token.expires))
    };

    let moved = store.move_token(begun.id, first.digest, after(90), after(1)).await.unwrap();
    assert_eq!(moved.unwrap().token(&first.digest).unwrap().expires, after(90));
    // An earlier end of another node, and one beyond the session.
    store.move_token(begun.id, first.digest, after(70), after(1)).await.unwrap().unwrap();
    assert_eq!(end(first.digest).await, Some(after(90)), "never back");
    let beyond = begun.expires.plus(Duration::from_secs(60));
    store.move_token(begun.id, first.digest, beyond, after(1)).await.unwrap().unwrap();
    assert_eq!(end(first.digest).await, Some(begun.expires), "never beyond the session");
    for number in 0..4 {
        let issued = opaque(&format!("later {number}"), after(60));
        store.renew(begun.id, None, after(60), Some(issued), after(1)).await.unwrap().unwrap();
    }
    let forgotten = store.move_token(begun.id, first.digest, after(90), after(1)).await.unwrap();
    assert_eq!(forgotten, None, "what was forgotten does not come back");
    assert_eq!(end(first.digest).await, None);
    store.revoke(RevocationTarget::Session(begun.id), after(1)).await.unwrap();
    let later = opaque("later 3", after(60)).digest;
    assert_eq!(store.move_token(begun.id, later, after(90), after(1)).await.unwrap(), None);
}
