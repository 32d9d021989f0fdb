//! The contract of every store, as to attempts at passwords and codes.

use super::*;

contract! {
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

async fn reserve(store: &dyn Store, who: &str, from: &str, now: Timestamp) -> AttemptAdmission {
    store.count_attempt(attempt(who, Some(from)), now).await.unwrap()
}

async fn failures_at_an_account_are_limited(store: &dyn Store) {
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

async fn failures_from_an_address_are_limited(store: &dyn Store) {
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

async fn a_stranger_cannot_lock_the_owner_out(store: &dyn Store) {
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

async fn a_success_takes_back_what_its_address_failed(store: &dyn Store) {
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

async fn a_right_password_takes_back_no_guesses_at_codes(store: &dyn Store) {
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

async fn an_address_is_known_only_after_the_last_step(store: &dyn Store) {
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

async fn a_code_with_a_ticket_is_for_who_has_it(store: &dyn Store) {
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

async fn behind_a_shared_address_nobody_is_the_owner(store: &dyn Store) {
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

async fn an_undecided_attempt_costs_nothing(store: &dyn Store) {
    for from in [Some(OWNER), None] {
        for _ in 0..20 {
            let admitted = store.count_attempt(attempt("ann", from), START).await.unwrap();
            assert_eq!(admitted, AttemptAdmission::Admitted);
            store.attempt_undecided(attempt("ann", from), after(1)).await.unwrap();
        }
    }
}

async fn attempts_reserved_at_once_count_each_other(store: &dyn Store) {
    let outcomes =
        join_all((0..30).map(|_| store.count_attempt(attempt("ann", Some(OWNER)), START))).await;

    let admitted =
        outcomes.iter().flatten().filter(|it| **it == AttemptAdmission::Admitted).count();
    assert_eq!(admitted, 3);
}

async fn attempts_that_come_out_of_order_do_not_empty_the_count(store: &dyn Store) {
    for late in [9, 3, 0] {
        assert_eq!(reserve(store, "ann", OWNER, after(late)).await, AttemptAdmission::Admitted);
    }

    let limited = reserve(store, "ann", OWNER, after(1)).await;

    assert!(matches!(limited, AttemptAdmission::Limited { .. }), "{limited:?}");
}

async fn lifting_limits_forgets_an_account(store: &dyn Store) {
    for nth in 0..3 {
        reserve(store, "ann", &format!("203.0.113.{nth}"), START).await;
        reserve(store, "bob", &format!("203.0.113.{nth}"), START).await;
    }

    store.lift_limits(token("ann"), START).await.unwrap();

    assert_eq!(reserve(store, "ann", OWNER, START).await, AttemptAdmission::Admitted);
    let limited = reserve(store, "bob", OWNER, START).await;
    assert!(matches!(limited, AttemptAdmission::Limited { .. }));
}
