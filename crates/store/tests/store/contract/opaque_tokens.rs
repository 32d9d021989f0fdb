//! The contract of every store, as to the opaque access tokens of its sessions.

use super::*;

contract! {
    a_session_is_found_by_the_token_that_it_began_with
    a_refresh_adds_its_token_and_keeps_the_ones_before
    repeated_refreshes_have_a_token_each
    a_refresh_without_rotation_adds_its_token
    a_token_beyond_the_bound_is_forgotten
    a_refused_refresh_adds_no_token
    the_token_of_an_ended_session_finds_nothing
    a_session_that_is_stored_again_has_only_the_tokens_that_it_names
    parallel_refreshes_lose_no_token
}

/// The opaque token `name`, issued at `now`.
fn opaque(name: &str, now: Timestamp) -> OpaqueToken {
    OpaqueToken { digest: token(name), issued: now, expires: now.plus(HOUR) }
}

/// A stored session that began with the opaque token `name`.
async fn begun_with(store: &dyn Store, name: &str) -> Session {
    let mut session = session("ann", START);
    session.add_token(opaque(name, START));
    store.put(session.clone(), MANY, START).await.unwrap();
    session
}

async fn found(store: &dyn Store, name: &str, now: Timestamp) -> Option<SessionId> {
    let session = store.find_by_token(token(name), now).await.unwrap();
    session.map(|session| {
        assert!(session.token(&token(name)).is_some(), "the session lists its token");
        session.id
    })
}

async fn rotate_to(
    store: &dyn Store,
    of: &Session,
    (from, to): (&str, &str),
    issued: &str,
    now: Timestamp,
) -> RotationOutcome {
    let issued = Some(opaque(issued, now));
    let rotation = RefreshRotation { issued, ..rotation(from, to, now) };
    store.rotate(of.id, rotation, now).await.unwrap()
}

async fn a_session_is_found_by_the_token_that_it_began_with(store: &dyn Store) {
    let session = begun_with(store, "first").await;

    let by_token = store.find_by_token(token("first"), START).await.unwrap();
    assert_eq!(by_token, Some(session.clone()));
    assert_eq!(store.find(session.id, START).await.unwrap(), Some(session));
    assert_eq!(found(store, "made up", START).await, None);
}

async fn a_refresh_adds_its_token_and_keeps_the_ones_before(store: &dyn Store) {
    let session = begun_with(store, "first").await;

    let rotated = rotate_to(store, &session, ("a", "b"), "second", after(60)).await;

    let RotationOutcome::Rotated(rotated) = rotated else { panic!("the working token rotates") };
    assert_eq!(rotated.tokens, [opaque("first", START), opaque("second", after(60))]);
    for name in ["first", "second"] {
        assert_eq!(found(store, name, after(60)).await, Some(session.id), "{name}");
    }
}

async fn repeated_refreshes_have_a_token_each(store: &dyn Store) {
    let session = begun_with(store, "first").await;
    rotate_to(store, &session, ("a", "b"), "second", after(60)).await;

    let grace = rotate_to(store, &session, ("a", "b"), "third", after(61)).await;
    assert!(matches!(grace, RotationOutcome::Grace(_)));
    let fresh = rotate_to(store, &session, ("b", "c"), "fourth", after(61)).await;
    assert!(matches!(fresh, RotationOutcome::Fresh(_)));

    for name in ["first", "second", "third", "fourth"] {
        assert_eq!(found(store, name, after(61)).await, Some(session.id), "{name}");
    }
}

async fn a_refresh_without_rotation_adds_its_token(store: &dyn Store) {
    let session = begun_with(store, "first").await;

    let issued = Some(opaque("second", after(5)));
    store.renew(session.id, None, after(3605), issued, after(5)).await.unwrap().unwrap();

    assert_eq!(found(store, "first", after(5)).await, Some(session.id));
    assert_eq!(found(store, "second", after(5)).await, Some(session.id));
}

async fn a_token_beyond_the_bound_is_forgotten(store: &dyn Store) {
    let session = begun_with(store, "0").await;

    for nth in 1..=5_u64 {
        let issued = Some(opaque(&nth.to_string(), after(nth)));
        store.renew(session.id, None, after(3600 + nth), issued, after(nth)).await.unwrap();
    }

    for nth in 0..=5_u64 {
        let expected = (nth >= 2).then_some(session.id);
        assert_eq!(found(store, &nth.to_string(), after(5)).await, expected, "token {nth}");
    }
}

async fn a_refused_refresh_adds_no_token(store: &dyn Store) {
    let session = begun_with(store, "first").await;

    let issued = Some(opaque("second", after(60)));
    let rotation = rotation("made up", "x", after(60));
    let later = RefreshRotation { generation: Some(99), issued, ..rotation };
    let unknown = store.rotate(session.id, later, after(60)).await.unwrap();
    assert_eq!(unknown, RotationOutcome::Unknown);
    let issued = Some(opaque("third", after(60)));
    let renewed = store.renew(session.id, Some(token("made up")), after(3660), issued, after(60));
    assert_eq!(renewed.await.unwrap(), None);

    assert_eq!(found(store, "second", after(60)).await, None);
    assert_eq!(found(store, "third", after(60)).await, None);
    assert_eq!(found(store, "first", after(60)).await, Some(session.id));
}

async fn the_token_of_an_ended_session_finds_nothing(store: &dyn Store) {
    let session = begun_with(store, "revoked").await;
    store.revoke(RevocationTarget::Session(session.id), after(1)).await.unwrap();
    assert_eq!(found(store, "revoked", after(1)).await, None);

    let session = begun_with(store, "stolen").await;
    rotate_to(store, &session, ("a", "b"), "second", after(60)).await;
    let reuse = rotate_to(store, &session, ("a", "b"), "third", after(600)).await;
    assert!(matches!(reuse, RotationOutcome::Reuse(_)));
    for name in ["stolen", "second", "third"] {
        assert_eq!(found(store, name, after(600)).await, None, "{name}");
    }

    let session = begun_with(store, "expired").await;
    assert_eq!(found(store, "expired", session.expires).await, None);
}

async fn a_session_that_is_stored_again_has_only_the_tokens_that_it_names(store: &dyn Store) {
    let session = begun_with(store, "first").await;
    rotate_to(store, &session, ("a", "b"), "second", after(60)).await;

    store.put(session.clone(), MANY, after(61)).await.unwrap();

    assert_eq!(found(store, "first", after(61)).await, Some(session.id));
    assert_eq!(found(store, "second", after(61)).await, None);
}

async fn parallel_refreshes_lose_no_token(store: &dyn Store) {
    let session = begun_with(store, "first").await;
    let names = ["x", "y", "z"];

    let refreshes = names.map(|name| rotate_to(store, &session, ("a", "b"), name, after(60)));
    join_all(refreshes).await;

    for name in names.into_iter().chain(["first"]) {
        assert_eq!(found(store, name, after(60)).await, Some(session.id), "{name}");
    }
}
