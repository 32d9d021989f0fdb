//! What a client or an operator ends on one node, seen on the others.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tollhouse::authn::new_key;
use tollhouse::clock::Clock;

use super::cluster::{BOUND, Cluster, Node, STALE_LIMIT, eventually, log_in, log_out, refresh};
use super::store_server::StoreServer;
use crate::harness::gateway::PASSWORD;
use crate::harness::{Upstream, client};
use crate::login::opaque_tokens::OPAQUE;
use crate::protocol::streams::{EchoWebSocket, assert_closed, assert_echo, open_with};
use crate::security::signed;

const SECRET: &[u8] = b"a shared secret of 32 bytes, ok!";

/// A cluster, and what is needed to get in without a login of its own.
struct Site {
    cluster: Cluster,
    robot: String,
    auditor: String,
    _sockets: EchoWebSocket,
    _secret: tempfile::TempDir,
}

impl Site {
    async fn start(store: StoreServer) -> Self {
        let sockets = EchoWebSocket::start().await;
        let secret = tempfile::tempdir().unwrap();
        let file = secret.path().join("secret");
        std::fs::write(&file, SECRET).unwrap();
        let (robot, robot_hash) = new_key("robot");
        let (auditor, auditor_hash) = new_key("auditor");
        let sections = format!(
            "[[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example/\"\n\
             algorithms = [\"HS256\"]\nsecret = {{ file = {file:?} }}\naudience = [\"legacy\"]\n\
             [[api_key]]\nid = \"robot\"\nhash = \"{}\"\n\
             [[api_key]]\nid = \"auditor\"\nhash = \"{}\"\nscopes = [\"introspect\"]\n{}{OPAQUE}",
            robot_hash.hex(),
            auditor_hash.hex(),
            sockets.config_at("/socket", "auth = [\"bearer\", \"api_key\"]"),
        );
        let cluster = Cluster::start(store, Upstream::start().await, &sections).await;
        Self {
            cluster,
            robot: robot.expose().clone(),
            auditor: auditor.expose().clone(),
            _sockets: sockets,
            _secret: secret,
        }
    }

    fn node(&self, number: usize) -> &Node {
        &self.cluster.nodes[number]
    }

    /// All nodes refuse the token within the bound, and the upstream sees nothing of it then.
    async fn assert_refused_everywhere(&self, token: &str, why: &str) {
        let since = std::time::Instant::now();
        for node in &self.cluster.nodes {
            eventually(why, async || node.call("/until", token).await == 401).await;
        }
        assert!(since.elapsed() < BOUND, "{why}: {:?}", since.elapsed());
        for node in &self.cluster.nodes {
            assert_eq!(node.call("/refused", token).await, 401, "{why}");
        }
        assert_eq!(self.cluster.arrived("/refused"), 0, "{why}: the upstream saw nothing");
    }

    async fn assert_accepted_everywhere(&self, token: &str) {
        for node in &self.cluster.nodes {
            assert_eq!(node.call("/accepted", token).await, 200);
        }
    }

    /// A token of the other issuer.
    fn foreign(&self, subject: &str) -> String {
        let now = Clock::system().now().secs();
        let claims = json!({
            "iss": "https://legacy.example/", "aud": "legacy", "sub": subject,
            "preferred_username": subject, "iat": now - 5, "exp": now + 3600,
        });
        signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET)
    }

    async fn a_refresh_on_one_node_is_repeated_on_another(&self) {
        let (_, first) = self.node(0).log_in("crowd0").await;
        let rotate = async |node: usize| {
            let reply = refresh(&self.node(node).client(), &first).await.unwrap();
            super::cluster::token_id(&super::cluster::tokens(reply.assert_status(200)).1)
        };

        let successors = [rotate(0).await, rotate(1).await, rotate(2).await];

        assert!(successors.iter().all(|one| *one == successors[0]), "{successors:?}");
    }

    async fn a_foreign_token_is_logged_out(&self) {
        let (ended, other) = (self.foreign("7"), self.foreign("8"));
        self.assert_accepted_everywhere(&ended).await;

        log_out(&self.node(0).client(), &ended).await.unwrap().assert_status(204);

        self.assert_refused_everywhere(&ended, "a foreign token").await;
        self.assert_accepted_everywhere(&other).await;
    }

    async fn an_operator_ends_a_users_foreign_tokens(&self) {
        let (ended, other) = (self.foreign("zoe"), self.foreign("yan"));
        self.assert_accepted_everywhere(&ended).await;

        self.node(2).command(&["session", "revoke", "--user", "zoe", "--yes"]).ok();

        self.assert_refused_everywhere(&ended, "a user's foreign tokens").await;
        self.assert_accepted_everywhere(&other).await;
    }

    /// An opaque token of a new session at this node.
    async fn opaque(&self, node: usize) -> String {
        let login = json!({ "user": "crowd6", "key": PASSWORD });
        let reply = self.node(node).client().post("/swift/login").json(login).send().await;
        reply.assert_status(200).member("token")
    }

    async fn an_opaque_token_is_good_everywhere_until_it_is_ended(&self) {
        let (met, unmet) = (self.opaque(0).await, self.opaque(2).await);
        self.assert_accepted_everywhere(&met).await;

        self.node(1).line.hold();

        assert_eq!(self.node(1).call("/accepted", &met).await, 200, "it was met before");
        assert_eq!(self.node(1).call("/unmet", &unmet).await, 503, "nobody knows");
        assert_eq!(self.cluster.arrived("/unmet"), 0, "the upstream saw nothing");
        self.node(1).line.release();
        self.node(1).until_ready().await;
        self.assert_accepted_everywhere(&unmet).await;
        let renewing = self.node(1).client();
        let renewed = renewing.post("/swift/renew").bearer(&met).send().await;
        let renewed = renewed.assert_status(200).member("token");
        let other = self.opaque(1).await;

        for (node, token) in [(2, &renewed), (0, &unmet)] {
            let client = self.node(node).client();
            client.post("/swift/logout").bearer(token).send().await.assert_status(200);
        }

        for token in [&met, &renewed, &unmet] {
            self.assert_refused_everywhere(token, "an opaque token").await;
        }
        self.assert_accepted_everywhere(&other).await;
    }

    async fn streams_end(&self) {
        let (access, _) = self.node(0).log_in("crowd1").await;
        let bearer = format!("Bearer {access}");
        let field = ("authorization", bearer.as_str());
        let mut session = open_with(&self.node(1).client(), Some(field)).await.unwrap();
        let key = ("x-api-key", self.robot.as_str());
        let mut robot = open_with(&self.node(2).client(), Some(key)).await.unwrap();
        assert_echo(&mut session, Message::text("session")).await;
        assert_echo(&mut robot, Message::text("robot")).await;

        log_out(&self.node(0).client(), &access).await.unwrap().assert_status(204);

        let since = std::time::Instant::now();
        assert_closed(session, "a logout on another node").await;
        assert!(since.elapsed() < BOUND, "{:?}", since.elapsed());
        assert_echo(&mut robot, Message::text("still")).await;

        self.node(0).command(&["api-key", "revoke", "robot", "--yes"]).ok();

        assert_closed(robot, "an API key that was revoked on another node").await;
        for node in &self.cluster.nodes {
            let call = node.client().get("/socket").header("x-api-key", &self.robot).send().await;
            call.assert_status(401);
        }
    }

    async fn guesses_are_counted_and_lifted(&self) {
        let guess = |password: &str| json!({ "username": "crowd9", "password": password });
        for number in 0..10 {
            let client = self.node(number % 3).client();
            client.post("/auth/login").json(guess("wrong")).send().await.assert_status(401);
        }
        for node in &self.cluster.nodes {
            let reply = node.client().post("/auth/login").json(guess(PASSWORD)).send().await;
            reply.assert_status(429);
        }

        self.node(1).command(&["limits", "lift", "crowd9"]).ok();

        for node in &self.cluster.nodes {
            let reply = node.client().post("/auth/login").json(guess(PASSWORD)).send().await;
            reply.assert_status(200);
        }
    }

    /// One node's users file says that a user is disabled, and the others' do not yet.
    async fn a_disabled_user_is_out_everywhere(&mut self) {
        let sessions = [0, 1, 2].map(|number| self.node(number).client());
        let mut tokens = Vec::new();
        for client in &sessions {
            let reply = log_in(client, "bob").await.unwrap();
            tokens.push(super::cluster::tokens(reply.assert_status(200)));
        }

        self.node(0).command(&["user", "--source", "staff", "disable", "bob"]).ok();

        // The file is looked at every few seconds.
        eventually("the node sees its file", async || {
            self.node(0).call("/until", &tokens[0].0).await == 401
        })
        .await;
        for (access, refreshing) in &tokens {
            self.assert_refused_everywhere(access, "a disabled user").await;
            for node in &self.cluster.nodes {
                refresh(&node.client(), refreshing).await.unwrap().assert_status(401);
            }
        }
        // A node that starts on a file of before brings nothing back.
        self.cluster.nodes[1].kill();
        self.cluster.nodes[1].start();
        self.node(1).until_ready().await;
        for (access, refreshing) in &tokens {
            self.assert_refused_everywhere(access, "a disabled user, after a start").await;
            refresh(&self.node(1).client(), refreshing).await.unwrap().assert_status(401);
        }
    }

    /// What was revoked before a node starts is known to it.
    async fn a_node_that_starts_knows_it_all(&mut self) {
        let ended = self.foreign("9");
        log_out(&self.node(0).client(), &ended).await.unwrap().assert_status(204);
        let (access, _) = self.node(0).log_in("crowd2").await;
        log_out(&self.node(0).client(), &access).await.unwrap().assert_status(204);

        self.cluster.nodes[2].kill();
        self.cluster.nodes[2].start();

        self.node(2).until_ready().await;
        self.assert_refused_everywhere(&ended, "a foreign token, after a start").await;
        self.assert_refused_everywhere(&access, "a session, after a start").await;
        let robot = self.node(2).client();
        let robot = robot.get("/socket").header("x-api-key", &self.robot).send().await;
        robot.assert_status(401);
    }

    async fn everybody_is_out(&self) {
        let mut tokens = Vec::new();
        for (number, node) in self.cluster.nodes.iter().enumerate() {
            tokens.push(node.log_in(&format!("crowd{number}")).await.0);
        }
        let names = self.node(1).command(&["session", "list", "--json"]).ok();
        for number in 0..3 {
            assert!(names.contains(&format!("crowd{number}")), "{names}");
        }

        self.node(0).command(&["session", "revoke", "--all", "--yes"]).ok();

        for token in &tokens {
            self.assert_refused_everywhere(token, "session revoke --all").await;
        }
        let (again, _) = self.node(2).log_in("crowd0").await;
        self.assert_accepted_everywhere(&again).await;
    }

    /// A node that drains goes on to follow the store for its last streams and connections.
    async fn a_node_that_drains_hears_of_ends(&mut self) {
        let (access, _) = self.node(0).log_in("crowd4").await;
        let bearer = format!("Bearer {access}");
        let field = ("authorization", bearer.as_str());
        let mut socket = open_with(&self.node(2).client(), Some(field)).await.unwrap();
        assert_echo(&mut socket, Message::text("first")).await;
        let mut node = self.cluster.nodes.pop().unwrap();
        let address = client::Client::plain(([127, 0, 0, 1], node.port).into());
        let draining = tokio::spawn(async move {
            node.stop().await;
            node
        });
        eventually("it takes no more connections", async || {
            address.get("/healthz").attempt().await.is_none()
        })
        .await;
        assert_echo(&mut socket, Message::text("still")).await;

        log_out(&self.node(0).client(), &access).await.unwrap().assert_status(204);

        assert_closed(socket, "a logout while the node drains").await;
        let mut node = tokio::time::timeout(client::PATIENCE, draining).await.unwrap().unwrap();
        node.start();
        node.until_ready().await;
        self.cluster.nodes.push(node);
    }

    /// A service that asks about a token is not told that it is active when nobody knows.
    async fn introspection_fails_closed(&self) {
        let (access, _) = self.node(0).log_in("crowd5").await;
        let ask = async |token: &str| {
            let form = format!("token={token}");
            let client = self.node(1).client();
            let request = client.post("/auth/introspect").header("x-api-key", &self.auditor);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            request.body(form).send().await
        };
        let active = ask(&access).await;
        assert_eq!(active.assert_status(200).json()["active"], true, "{}", active.text());

        self.node(1).line.hold();

        tokio::time::sleep(STALE_LIMIT + Duration::from_millis(50)).await;
        ask(&access).await.assert_status(503);
        self.node(1).line.release();
        self.node(1).until_ready().await;
        log_out(&self.node(0).client(), &access).await.unwrap().assert_status(204);
        self.assert_refused_everywhere(&access, "after the cut").await;
        assert_eq!(ask(&access).await.json(), json!({ "active": false }));
    }
}

async fn end_everywhere(store: StoreServer) {
    let mut site = Site::start(store).await;

    site.a_refresh_on_one_node_is_repeated_on_another().await;
    site.a_foreign_token_is_logged_out().await;
    site.an_operator_ends_a_users_foreign_tokens().await;
    site.an_opaque_token_is_good_everywhere_until_it_is_ended().await;
    site.streams_end().await;
    site.guesses_are_counted_and_lifted().await;
    site.a_disabled_user_is_out_everywhere().await;
    site.a_node_that_starts_knows_it_all().await;
    site.everybody_is_out().await;
    site.a_node_that_drains_hears_of_ends().await;
    site.introspection_fails_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_on_one_node_ends_on_all_with_redis() {
    end_everywhere(StoreServer::redis()).await;
}
