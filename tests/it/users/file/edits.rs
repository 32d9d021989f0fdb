//! Changes to `users.toml` by the command line.

use super::*;

const WRITTEN_BY_HAND: &str = r#"# The office.

# Alice runs it.
[[user]]
name = 'alice'   # boss
password = "HASH"
claims.tenant = "acme"
[user.claims.more]
text = """
[[user]]
# not a comment
"""

# Bob helps.
[[user]]
password = "HASH"
    name = "bob"
disabled = false # for now
"#;

fn by_hand(hash: &str) -> String {
    WRITTEN_BY_HAND.replace("HASH", hash)
}

#[test]
fn edits_leave_comments_and_other_users_as_they_were() {
    let fixture = Fixture::new();
    let hash = quick_hash("x");
    let path = fixture.write(&by_hand(&hash));
    let text = || std::fs::read_to_string(&path).unwrap();
    let original = text();

    edit::disable(&path, "Bob", true).unwrap();
    assert_eq!(text(), original.replace("false # for now", "true # for now"));
    edit::disable(&path, "bob", false).unwrap();
    assert_eq!(text(), original);

    edit::disable(&path, "alice", true).unwrap();
    assert_eq!(text(), original.replace("# boss\n", "# boss\ndisabled = true\n"));
    edit::disable(&path, "alice", false).unwrap();

    let new = passwords::hash("another").unwrap();
    edit::passwd(&path, "bob", &new).unwrap();
    assert_eq!(text().matches(new.as_str()).count(), 1);
    assert_eq!(text().matches(&hash).count(), 1, "alice keeps hers");

    edit::remove(&path, "alice").unwrap();
    assert!(text().starts_with("# The office.\n\n# Bob helps.\n[[user]]\n"), "{}", text());
    edit::remove(&path, "bob").unwrap();
    assert!(text().starts_with("# The office."), "{}", text());
    assert!(matches!(edit::remove(&path, "bob"), Err(EditError::NoSuchUser { .. })));
}

#[test]
fn a_user_can_be_added_to_any_file_and_to_none() {
    let fixture = Fixture::new();
    let user = |name: &str| NewUser {
        name: name.to_owned(),
        email: Some(format!("{name}@example.com")),
        password: StoredHash::parse(&quick_hash("x")).unwrap(),
        roles: vec!["a \"quoted\" role".to_owned()],
        scopes: vec!["read".to_owned()],
        claims: vec![("tenant id".to_owned(), "back\\slash".to_owned())],
    };

    let id = edit::add(&fixture.path(), &user("alice")).unwrap();
    edit::add(&fixture.path(), &user("bob")).unwrap();

    let listed = edit::list(&fixture.path(), "staff").unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0].user.id, listed[0].user.profile.roles[0].as_str()),
        (&id, "a \"quoted\" role")
    );
    assert_eq!(listed[1].user.profile.claims["tenant id"], "back\\slash");
    let mode = std::fs::metadata(fixture.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "hashes are nobody else's business");

    let again = edit::add(&fixture.path(), &user("ALICE"));
    assert!(matches!(again, Err(EditError::Exists { .. })));
    let mut address_taken = user("carol");
    address_taken.email = Some("Bob@example.com".to_owned());
    assert!(matches!(edit::add(&fixture.path(), &address_taken), Err(EditError::Problems(_))));
    assert_eq!(edit::list(&fixture.path(), "staff").unwrap().len(), 2, "a refusal changes nothing");
}

#[test]
fn a_file_that_cannot_be_changed_safely_is_left_alone() {
    let fixture = Fixture::new();
    let hash = quick_hash("x");
    let inline = format!("user = [{{ name = \"alice\", password = \"{hash}\" }}]\n");
    let path = fixture.write(&inline);

    assert!(edit::remove(&path, "alice").is_err());
    assert!(edit::disable(&path, "alice", true).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), inline);

    let broken = format!("{}[[user]]\n", by_hand(&hash));
    fixture.write(&broken);
    assert!(matches!(edit::remove(&path, "alice"), Err(EditError::Problems(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), broken);
}

#[test]
fn commands_that_change_one_file_at_once_lose_nothing() {
    let fixture = Fixture::new();
    let hash = quick_hash("x");
    fixture.write(&by_hand(&hash));
    let path: &Path = &fixture.path();

    std::thread::scope(|scope| {
        for index in 0..8 {
            let password = StoredHash::parse(&hash).unwrap();
            scope.spawn(move || {
                let name = format!("user {index}");
                let (roles, scopes, claims) = (Vec::new(), Vec::new(), Vec::new());
                let user = NewUser { name, email: None, password, roles, scopes, claims };
                edit::add(path, &user).unwrap();
            });
        }
    });

    assert_eq!(edit::list(path, "staff").unwrap().len(), 10);
}

#[tokio::test]
async fn the_first_user_is_made_once_and_can_log_in() {
    let fixture = Fixture::new();

    let first = tollhouse::users::first_user(&fixture.path()).unwrap().unwrap();
    let again = tollhouse::users::first_user(&fixture.path()).unwrap();

    assert!(again.is_none(), "a file that is there is never touched");
    let source = fixture.open("staff");
    let PasswordCheck::Correct { user, .. } =
        check(&*source, &first.name, first.password.expose()).await
    else {
        panic!("the first user can log in");
    };
    assert_eq!(user.profile.email.as_deref(), Some("admin@example.com"));
    assert_eq!(user.profile.roles, ["root", "admin"]);
}

#[test]
fn a_command_refuses_a_weak_password_and_makes_no_file() {
    let fixture = Fixture::new();
    let path = fixture.path();
    let file = UsersFile { source: "staff", path: &path };
    let mut args = AddArgs {
        name: "alice".to_owned(),
        email: None,
        roles: Vec::new(),
        scopes: Vec::new(),
        claims: Vec::new(),
    };

    assert!(cli::add(&args, &"password1".into(), file).is_err());
    args.email = Some("nowhere".to_owned());
    assert!(cli::add(&args, &PASSWORD.into(), file).is_err(), "a bad address is refused too");
    assert!(!path.exists());

    args.email = None;
    cli::add(&args, &PASSWORD.into(), file).unwrap();
    assert!(cli::passwd("alice", &"short".into(), file).is_err());
    cli::passwd("ALICE", &"another long one".into(), file).unwrap();
    assert!(cli::passwd("bob", &"another long one".into(), file).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_users_file_and_no_hash_can_stop_the_process(
        value in r"[$a-z0-9=,é./\\]{0,80}", cut in 0_usize..97, noise in any::<String>(),
    ) {
        let fixture = Fixture::new();
        fixture.write(&format!("[[user]]\nname = 'a'\npassword = '{value}'\n"));
        let _ = FileSource::check_file("staff", &fixture.path());
        fixture.write(&noise);
        let _ = FileSource::check_file("staff", &fixture.path());

        for good in [HashCost::default().dummy(), HashCost::Bcrypt { cost: 4 }.dummy()] {
            let text = good.as_str();
            let cut = cut.min(text.len());
            let damaged = format!("{}{value}{}", &text[..cut], &text[cut..]);
            let _ = StoredHash::parse(&damaged);
            let _ = StoredHash::parse(&text[..cut]);
        }
    }
}
