//! What stands beside the name and the password: the calling program, a code, and the values of the
//! request in an error.

use super::places::{at, dialect, one};
use super::*;
use crate::{AccountLookup, ErrorValues};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn login(more: &str) -> String {
    format!(
        "step = 'login'\nrequest = 'POST /l'\nreply = {{}}\n\
         credential = [{{ form = {{ username = 'n', password = 'p' }} }}]\n{more}"
    )
}

fn program(id: &str, secret: Option<&str>, may_be_encoded: bool) -> PresentedProgram {
    PresentedProgram { id: id.to_owned(), secret: secret.map(Into::into), may_be_encoded }
}

#[test]
fn a_program_is_found_in_either_of_its_places() {
    let client = "client = { basic = {}, form = { id = 'client_id', secret = 'client_secret' } }";
    let endpoint = one(&login(client));
    let basic = "Authorization: Basic c2hvcDpzJTIw"; // shop:s%20
    for (lines, body, expected, why) in [
        (FORM, "n=u&p=p", Ok(None), "no program"),
        (
            FORM,
            "client_id=shop&client_secret=s",
            Ok(Some(program("shop", Some("s"), false))),
            "form",
        ),
        (FORM, "client_id=shop", Ok(Some(program("shop", None, false))), "a public one"),
        (FORM, "client_secret=s", Err(Reason::InvalidClient), "a secret of nobody"),
        (basic, "", Ok(Some(program("shop", Some("s%20"), true))), "Basic"),
        (basic, "client_id=shop", Ok(Some(program("shop", Some("s%20"), true))), "repeated id"),
        (basic, "client_id=other", Err(Reason::AmbiguousCredential), "two programs"),
        (basic, "client_id=shop&client_secret=s", Err(Reason::AmbiguousCredential), "two secrets"),
        (FORM, "client_id=a&client_id=b", Err(Reason::MalformedRequest), "one parameter twice"),
    ] {
        let lines = format!("{lines}\n{FORM}");
        let lines = if lines.starts_with(FORM) { FORM.to_owned() } else { lines };

        let found = read_program(&endpoint, &at("/l", &lines), &[], body.as_bytes());

        assert_eq!(found, expected, "{why}: {body}");
    }
    let without = one(&login(""));
    let body = b"client_id=shop&client_secret=s";
    assert_eq!(read_program(&without, &at("/l", FORM), &[], body), Ok(None), "not looked at");
}

#[test]
fn a_program_in_a_place_that_cannot_be_is_a_problem() {
    for (client, expected) in [
        ("client = {}", "is empty"),
        ("client = { form = { id = 'n' } }", "the user's credential"),
        ("client = { json = { id = 'i' }, form = { id = 'i' } }", "two kinds of body"),
        ("client = { form = { id = 'i', secret = 'p' } }", "the user's credential"),
    ] {
        let problems = dialect(&login(client)).unwrap_err();
        let found = problems.iter().any(|one| one.message.contains(expected));
        assert!(
            found && problems.iter().all(|one| one.path.starts_with("endpoint[0].client")),
            "{client}: {problems:?}"
        );
    }
    let basic = "step = 'login'\nrequest = 'POST /l'\nreply = {}\ncredential = [{ basic = {} }]\n\
                 client = { basic = {} }";
    assert!(dialect(basic).unwrap_err()[0].message.contains("one Authorization"));
    let secret = login("client = { form = { id = 'i', secret = 's' } }")
        .replace("reply = {}", "reply = { text = '$request.form.s' }");
    assert!(dialect(&secret).unwrap_err()[0].message.contains("which is a credential"));
}

#[test]
fn a_code_may_stand_beside_the_password() {
    let endpoint = one("step = 'login'\nrequest = 'POST /l'\nreply = {}\nsecond_step = 'mail'\n\
         credential = [{ json = { username = 'n', password = 'p', code = 'otp' } }]");
    for (body, expected) in [
        (r#"{"n":"u","p":"p","otp":"012345"}"#, Some("012345")),
        (r#"{"n":"u","p":"p"}"#, None),
        (r#"{"n":"u","p":"p","otp":""}"#, None),
    ] {
        let Ok(PresentedCredential::Password { code, .. }) =
            read(&endpoint, &at("/l", JSON), &[], body.as_bytes())
        else {
            panic!("a password");
        };
        assert_eq!(code.as_ref().map(|code| code.expose().as_str()), expected, "{body}");
    }
    let number = br#"{"n":"u","p":"p","otp":1}"#;
    let read = read(&endpoint, &at("/l", JSON), &[], number);
    assert_eq!(read, Err(Reason::MalformedRequest), "of another type");
}

#[test]
fn one_field_may_be_either_of_two_names() {
    let either = one(&login("account = ['email', 'username']"));
    assert_eq!(either.account, [AccountLookup::Email, AccountLookup::Username]);
    assert_eq!(one(&login("")).account, [AccountLookup::Username]);
    for (account, expected) in [("[]", "is empty"), ("['email', 'email']", "stands here twice")] {
        let problems = dialect(&login(&format!("account = {account}"))).unwrap_err();
        assert!(problems[0].message.contains(expected), "{problems:?}");
    }
}

#[test]
fn an_error_shows_what_the_client_sent_and_never_a_credential() {
    let errors = "error = { invalid_credentials = { json = { id = '$request.json.id' } } }";
    let endpoint = one(&format!(
        "step = 'login'\nrequest = 'POST /l'\nreply = {{}}\n{errors}\n\
         credential = [{{ json = {{ username = 'n', password = 'p' }} }}]"
    ));
    for (body, expected) in [
        (r#"{"id":7,"n":"u","p":"p"}"#, r#"{"id":7}"#),
        (r#"{"id":"a\"b"}"#, r#"{"id":"a\"b"}"#),
        (r#"{"id":[1]}"#, r#"{"id":null}"#),
        ("{}", r#"{"id":null}"#),
        ("no json", r#"{"id":null}"#),
    ] {
        let request = shown(&endpoint, &at("/l", JSON), &[], body.as_bytes());
        let answer = endpoint.errors.render(&ErrorValues {
            reason: Reason::InvalidCredentials,
            path: "/l",
            request_id: "r",
            detail: None,
            request: &request,
            now: tollhouse_core::clock::Timestamp::default(),
        });
        assert_eq!(answer.body, expected, "{body}");
    }
    let secret = dialect(&format!(
        "step = 'login'\nrequest = 'POST /l'\nreply = {{}}\n{}\n\
         credential = [{{ json = {{ username = 'n', password = 'p' }} }}]",
        errors.replace(".id", ".p")
    ));
    let problems = secret.unwrap_err();
    assert_eq!(problems[0].path, "endpoint[0].error");
    assert!(problems[0].message.contains("which is a credential"), "{problems:?}");
}
