//! The contract of every store, as to one-time codes.

use super::*;

contract! {
    a_code_is_used_up_by_the_right_guess
    a_code_ends_with_its_time_and_with_its_successor
    strangers_cannot_use_up_the_guesses_of_the_owner
    the_fifth_wrong_guess_of_the_owner_kills_the_code
    codes_by_the_hour_are_limited
    a_waiting_code_is_found_until_it_is_used_or_expires
}

async fn a_code_is_used_up_by_the_right_guess(store: &dyn Store) {
    store.put_code(code("123456"), 5, START).await.unwrap();

    assert_eq!(guess(store, "000000", OWNER, START).await, CodeVerdict::Wrong);
    let right = guess(store, "123456", OWNER, after(1)).await;
    assert_eq!(right, CodeVerdict::Right(Box::new(code("123456"))));
    assert_eq!(guess(store, "123456", OWNER, after(2)).await, CodeVerdict::Gone);
}

async fn a_code_ends_with_its_time_and_with_its_successor(store: &dyn Store) {
    store.put_code(code("123456"), 5, START).await.unwrap();
    assert_eq!(guess(store, "123456", OWNER, after(600)).await, CodeVerdict::Gone);

    store.put_code(code("654321"), 5, START).await.unwrap();
    assert_eq!(guess(store, "123456", OWNER, START).await, CodeVerdict::Wrong);
    assert!(matches!(guess(store, "654321", OWNER, START).await, CodeVerdict::Right(_)));
}

async fn strangers_cannot_use_up_the_guesses_of_the_owner(store: &dyn Store) {
    store.put_code(code("123456"), 5, START).await.unwrap();
    for nth in 0..15 {
        let from = format!("203.0.113.{nth}");
        assert_eq!(guess(store, "000000", &from, START).await, CodeVerdict::Wrong);
    }

    assert_eq!(guess(store, "123456", STRANGER, START).await, CodeVerdict::Gone);
    assert!(matches!(guess(store, "123456", OWNER, START).await, CodeVerdict::Right(_)));
}

async fn the_fifth_wrong_guess_of_the_owner_kills_the_code(store: &dyn Store) {
    store.put_code(code("123456"), 5, START).await.unwrap();
    for _ in 0..5 {
        assert_eq!(guess(store, "000000", OWNER, START).await, CodeVerdict::Wrong);
    }

    assert_eq!(guess(store, "123456", OWNER, START).await, CodeVerdict::Gone);
    assert_eq!(guess(store, "123456", STRANGER, START).await, CodeVerdict::Gone);
}

async fn codes_by_the_hour_are_limited(store: &dyn Store) {
    for _ in 0..3 {
        assert_eq!(store.put_code(code("1"), 3, START).await.unwrap(), PutCode::Kept);
    }

    let fourth = store.put_code(code("2"), 3, after(600)).await.unwrap();

    assert_eq!(fourth, PutCode::TooMany { retry_after: Duration::from_secs(3000) });
    assert!(matches!(guess(store, "1", OWNER, START).await, CodeVerdict::Right(_)));
    assert_eq!(store.put_code(code("2"), 3, after(3600)).await.unwrap(), PutCode::Kept);
}

async fn a_waiting_code_is_found_until_it_is_used_or_expires(store: &dyn Store) {
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
