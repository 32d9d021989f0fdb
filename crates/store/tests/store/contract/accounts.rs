//! The contract of every store, as to users it remembers and of their second steps.

use super::*;

contract! {
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

/// The same with a hash of ours, taken at `when`.
fn imported(account: KnownAccount, when: Timestamp) -> KnownAccount {
    let hash = Some("$argon2id$".to_owned());
    KnownAccount { hash, origin: Some(token("theirs")), imported: Some(when), ..account }
}

async fn known(store: &dyn Store, source: &str, by: AccountKey<'_>) -> Option<KnownAccount> {
    store.find_account(source, by).await.unwrap()
}

async fn what_is_known_of_a_user_is_found_by_id_and_by_name(store: &dyn Store) {
    let ann = imported(account("ldap", "1", "ann"), START);
    store.put_account(ann.clone()).await.unwrap();

    let by_id = known(store, "ldap", AccountKey::Subject(&ann.subject)).await;
    let by_name = known(store, "ldap", AccountKey::Name("ann")).await;

    assert_eq!((by_id.as_ref(), by_name.as_ref()), (Some(&ann), Some(&ann)));
    assert_eq!(known(store, "ldap", AccountKey::Name("ANN")).await, None, "as it is spelled");
    assert_eq!(known(store, "ldap", AccountKey::Name("")).await, None);
    assert_eq!(known(store, "ldap", AccountKey::Subject(&UserId::new("2"))).await, None);
}

async fn a_user_put_again_is_known_by_his_new_name_only(store: &dyn Store) {
    store.put_account(account("ldap", "1", "ann")).await.unwrap();
    let married = KnownAccount { seen: after(60), ..account("ldap", "1", "anne") };

    store.put_account(married.clone()).await.unwrap();

    assert_eq!(known(store, "ldap", AccountKey::Name("ann")).await, None);
    assert_eq!(known(store, "ldap", AccountKey::Name("anne")).await, Some(married.clone()));
    let by_id = known(store, "ldap", AccountKey::Subject(&married.subject)).await;
    assert_eq!(by_id, Some(married));
}

async fn users_of_one_source_are_not_anothers(store: &dyn Store) {
    let (one, other) = (account("ldap", "1", "ann"), account("ldapx", "1", "ann"));
    store.put_account(one.clone()).await.unwrap();
    store.put_account(other.clone()).await.unwrap();

    store.remove_account("ldap", &one.subject).await.unwrap();

    assert_eq!(known(store, "ldap", AccountKey::Name("ann")).await, None);
    assert_eq!(known(store, "ldap", AccountKey::Subject(&one.subject)).await, None);
    assert_eq!(known(store, "ldapx", AccountKey::Name("ann")).await, Some(other));
    assert_eq!(known(store, "lda", AccountKey::Name("ann")).await, None, "half a name");
}

async fn a_user_who_is_forgotten_leaves_a_name_that_another_took(store: &dyn Store) {
    store.put_account(account("ldap", "1", "ann")).await.unwrap();
    let second = account("ldap", "2", "ann");
    store.put_account(second.clone()).await.unwrap();

    store.remove_account("ldap", &UserId::new("1")).await.unwrap();
    store.remove_account("ldap", &UserId::new("3")).await.unwrap();

    assert_eq!(known(store, "ldap", AccountKey::Name("ann")).await, Some(second));
}

async fn known_and_imported_users_are_counted(store: &dyn Store) {
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

async fn a_second_step_is_kept_replaced_and_taken_away(store: &dyn Store) {
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

async fn a_step_of_an_authenticator_is_used_up_with_all_before_it(store: &dyn Store) {
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

async fn a_new_secret_has_its_own_steps(store: &dyn Store) {
    let ann = UserId::new("ann");
    store.put_totp("staff", &ann, Some(totp(1, START))).await.unwrap();
    assert!(store.use_totp_step("staff", &ann, 100).await.unwrap());

    store.put_totp("staff", &ann, Some(totp(2, after(1)))).await.unwrap();

    assert!(store.use_totp_step("staff", &ann, 100).await.unwrap());
}

async fn one_of_many_uses_of_a_step_at_once_succeeds(store: &dyn Store) {
    let ann = UserId::new("ann");
    store.put_totp("staff", &ann, Some(totp(1, START))).await.unwrap();

    let uses = join_all((0..20).map(|_| store.use_totp_step("staff", &ann, 100))).await;

    assert_eq!(uses.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
}

async fn a_second_step_is_of_a_user_of_a_source(store: &dyn Store) {
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
