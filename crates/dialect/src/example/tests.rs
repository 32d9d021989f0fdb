//! Tests of reading examples, filling in requests and comparing replies.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::pattern::ExamplePattern;
use super::*;
use crate::problem::DialectProblem;
use crate::raw::RawDialect;

fn read(examples: &str) -> Result<Vec<Example>, Vec<String>> {
    let text =
        format!("name = \"own\"\n[[endpoint]]\nstep = \"answer\"\nrequest = \"GET /\"\n{examples}");
    let raw: RawDialect = toml::from_str(&text).map_err(|error| vec![error.to_string()])?;
    let told = |problem: DialectProblem| format!("{}: {}", problem.path, problem.message);
    raw.examples().map_err(|problems| problems.into_iter().map(told).collect())
}

/// An example after one whose reply has `$id`.
fn example(request: &str, reply: &str) -> Example {
    let text = format!(
        "[[example]]\nrequest = 'GET /'\nreply = \"200\\nX: $id\"\n\
         [[example]]\nrequest = '''\n{request}'''\nreply = '''\n{reply}'''\n"
    );
    read(&text).unwrap().remove(1)
}

fn answer(status: u16, fields: &[(&'static str, &'static str)], body: &str) -> ExampleAnswer {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let body = Bytes::copy_from_slice(body.as_bytes());
    ExampleAnswer { status, headers, body }
}

fn compared(reply: &str, answer: &ExampleAnswer) -> Result<ExampleValues, Vec<String>> {
    let mut known = ExampleValues::new();
    example("GET /", reply).reply.compare(answer, &mut known).map(|()| known)
}

#[test]
fn a_request_is_sent_as_it_is_written() {
    let known = ExampleValues::from([("id".to_owned(), "7".to_owned())]);
    let example = example("POST /x/$id?a=b HTTP/1.1\nX-Id:  $id.\n\n{\"id\": \"${id}0\"}\n", "200");

    let request = example.request.fill("http://127.0.0.1:1", &known).unwrap();

    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), "http://127.0.0.1:1/x/7?a=b");
    assert_eq!(request.headers()["x-id"], "7.");
    assert_eq!(request.body(), "{\"id\": \"70\"}");
    assert_eq!(example.request.line(), "POST /x/$id?a=b");
}

#[test]
fn a_value_that_does_not_fit_its_place_is_refused() {
    let known = ExampleValues::from([("id".to_owned(), "a b\n".to_owned())]);

    assert!(example("GET /$id", "200").request.fill("http://h", &known).is_err());
    assert!(example("GET /\nX: $id", "200").request.fill("http://h", &known).is_err());
}

#[test]
fn an_answer_is_compared_in_each_part() {
    let reply = "HTTP/1.1 201 Created\nSet-Cookie: SID=$sid; Path=/\nX-A: b\n\n\
                 {\"token\": \"$token\", \"ttl\": \"$ttl\", \"list\": [1, \"x $rest\"]}\n";
    let fields = [("x-a", "b"), ("set-cookie", "o=1"), ("set-cookie", "SID=77; Path=/")];
    let body = "{\"ttl\":60,\"list\":[1,\"x y z\"],\"token\":\"t\"}";

    let known = compared(reply, &answer(201, &fields, body)).unwrap();

    let told: Vec<_> = known.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(told, ["rest=y z", "sid=77", "token=t", "ttl=60"]);
    let found = compared(reply, &answer(200, &[("x-a", "c")], "{}")).unwrap_err();
    assert_eq!(
        found,
        [
            "the status is 200, not 201",
            "there is no field `set-cookie: SID=$sid; Path=/`",
            "`x-a` is `c`, not `b`",
            "the body differs: the body is `{}`",
        ]
    );
}

#[test]
fn a_difference_in_json_is_told_with_its_place() {
    let reply = "200\n\n{\"a\": {\"b\": [1, \"$x\"]}, \"c\": \"$x\"}";
    let told = |body: &str| compared(reply, &answer(200, &[], body)).unwrap_err().join("; ");

    assert!(compared(reply, &answer(200, &[], r#"{"a":{"b":[1,"v"]},"c":"v"}"#)).is_ok());
    for (body, place) in [
        (r#"{"a":{"b":[2,"v"]},"c":"v"}"#, "the body.a.b[0] differs"),
        (r#"{"a":{"b":[1,"v",3]},"c":"v"}"#, "the body.a.b differs"),
        (r#"{"a":{"b":[1,"v"]},"c":"w"}"#, "the body.c differs"),
        (r#"{"a":{"b":[1,null]},"c":"v"}"#, "the body.a.b[1] differs"),
        (r#"{"a":{"b":[1,"v"]}}"#, "the body differs"),
        (r#"{"a":{"b":[1,"v"]},"c":"v","d":1}"#, "the body differs"),
        ("<p>", "the body is no JSON"),
    ] {
        assert!(told(body).starts_with(place), "{body}: {}", told(body));
    }
}

#[test]
fn without_an_empty_line_a_reply_says_nothing_of_the_body() {
    assert!(compared("204", &answer(204, &[], "whatever")).is_ok());
    assert!(compared("204\n\n", &answer(204, &[], "")).is_ok());
    assert!(compared("204\n\n", &answer(204, &[], "x")).is_err());
    assert!(compared("200\n\nOk.\n", &answer(200, &[], "Ok.")).is_ok());
    assert!(compared("200\n\n<a>$t</a><b>\n", &answer(200, &[], "<a></a><b>")).is_err());
}

#[test]
fn faults_are_told_together_and_where_they_are() {
    let text = "
        [[example]]
        request = 'login'
        reply = 'fine'
        [[example]]
        request = 'GET /$token'
        reply = '200'
        after = 'soon'
        times = 0
        [[example]]
        request = \"GET /\\nno field\"
        reply = '200 $a$b'
        user = { name = 'bob' }
        [[example]]
        request = 'GET /'
        reply = \"200\\nX: $a$b\"
        [[example]]
        state = 'new'
        request = \"GET /\\nX: $user.code $seen\"
        reply = \"200\\nX: $seen\"
        [[example]]
        request = 'GET /$seen'
        reply = '200'
        [[example]]
        state = 'users_down'
        user = { name = 'bob' }
        request = 'GET /$seen'
        reply = '200'
    ";

    let found = read(text).unwrap_err();

    let starts = [
        "example[0].request: begins with `login`",
        "example[0].reply: begins with `fine`",
        "example[1].request: has `$token`, which no reply before it",
        "example[1].times: must be from 1 to 1000",
        "example[1].after: must be a number and a unit",
        "example[2].user: is for the first example of a story",
        "example[2].request: has the line `no field`",
        "example[3].reply: has `$a` and `$b` with nothing between",
        "example[4].request: has `$seen`, which no reply before it",
        "example[6].request: has `$seen`, which no reply before it",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\$|\\{|\\}|\n|:| |[a-c.]){0,24}", answered in ".{0,12}") {
        if let Ok(pattern) = ExamplePattern::parse(&text) {
            let mut found = ExampleValues::new();
            pattern.read(&answered, &mut found);
        }
        let text = format!(
            "[[example]]\nrequest = {}\nreply = {}\n",
            toml::Value::from(text.clone()),
            toml::Value::from(text),
        );
        let _ = read(&text);
    }

    /// What is filled in is read back, unless the value holds the text that ends its place.
    #[test]
    fn a_filled_text_is_read_back(a in "[a-z0-9]{1,8}", b in "[a-z0-9]{1,8}") {
        let pattern = ExamplePattern::parse("x-$a-y-${b}-").unwrap();
        let known =
            ExampleValues::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let mut found = ExampleValues::new();

        prop_assert!(pattern.read(&pattern.fill(&known), &mut found));
        prop_assert_eq!(found, known);
    }
}
