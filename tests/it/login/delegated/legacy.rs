//! A legacy system of the tests' own that speaks Webitel: what it knows can be changed at will.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use crate::harness::Upstream;
use crate::harness::upstream::ReceivedRequest;

pub struct Webitel {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Name, password, and what else stands in the answer.
    users: Vec<(String, String, Value)>,
    is_down: bool,
    tells_case_apart: bool,
}

impl Webitel {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let held = state.clone();
        let upstream = Upstream::answering(move |request| answer(&held.lock().unwrap(), request));
        Self { upstream: upstream.await, state }
    }

    pub fn url(&self) -> String {
        self.upstream.url()
    }

    /// Adds a user, or replaces the one of this name.
    pub fn add(&self, name: &str, password: &str, more: Value) {
        self.remove(name);
        let user = (name.to_owned(), password.to_owned(), more);
        self.state.lock().unwrap().users.push(user);
    }

    pub fn remove(&self, name: &str) {
        self.state.lock().unwrap().users.retain(|(known, ..)| known != name);
    }

    /// Answers 500 from now on, or no more.
    pub fn down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    pub fn tell_case_apart(&self, apart: bool) {
        self.state.lock().unwrap().tells_case_apart = apart;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.upstream.received().len()
    }
}

fn answer(state: &State, request: &ReceivedRequest) -> Response<Bytes> {
    let say = |status: u16, body: Value| {
        let response = Response::builder().status(status);
        response.header("content-type", "application/json").body(body.to_string().into()).unwrap()
    };
    let error = |status, info: &str| say(status, json!({ "status": "error", "info": info }));
    if state.is_down {
        return error(500, "Invalid credentials");
    }
    if request.target != "/login" {
        return error(404, "Not found");
    }
    let login: Value = serde_json::from_slice(&request.body).unwrap();
    let typed = login["username"].as_str().unwrap();
    let is_meant = |name: &str| {
        if state.tells_case_apart { name == typed } else { name.eq_ignore_ascii_case(typed) }
    };
    let Some((name, password, more)) = state.users.iter().find(|(name, ..)| is_meant(name)) else {
        return error(404, "User not found");
    };
    if login["password"] != *password {
        return error(401, "Invalid credentials");
    }
    let mut body =
        json!({ "key": "k-1", "username": name, "expires": 1, "token": "t-1", "role": 2 });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    say(200, body)
}
