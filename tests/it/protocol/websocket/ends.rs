//! A WebSocket ends with its session or token by 1008, whatever both sides speak.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use http::Method;
use tollhouse::admin::{SOCKET, client};

use super::{BOTH, By, EchoWebSocket, Front, UPSTREAMS};
use crate::harness::OpenIdProvider;
use crate::harness::gateway::START;
use crate::harness::tls_gateway::TlsGateway;
use crate::protocol::streams::{assert_closed, assert_echo};

#[tokio::test]
async fn a_logout_closes_the_sessions_web_sockets() {
    for (over, opens) in UPSTREAMS {
        let parrot = EchoWebSocket::start(over, opens).await;
        let front = Front::before(&parrot.service.config("", "")).await;
        for by in BOTH {
            let token = front.token().await;
            let mut socket = front.open(by, Some(&token)).await.unwrap();
            assert_echo(&mut socket, Message::text("first")).await;

            let logout = front.http2.post("/auth/logout").bearer(&token).send().await;

            logout.assert_status(204);
            assert_closed(socket, &format!("{over:?} {by:?}")).await;
        }
    }
}

#[tokio::test]
async fn a_revoked_users_foreign_tokens_close_their_web_sockets() {
    let provider = OpenIdProvider::es256().await;
    for (over, opens) in UPSTREAMS {
        let parrot = EchoWebSocket::start(over, opens).await;
        let secure = TlsGateway::new();
        let config = parrot.service.config("", "") + &provider.section("idp", "");
        let front = Front::start(&secure, secure.builder().moving().config(&config)).await;
        let token = |subject: &str| provider.token().sub(subject).at(START).text();
        let mut other = front.open(By::Connect, Some(&token("8"))).await.unwrap();
        for by in BOTH {
            // A user each: what they were given before is refused from then on.
            let subject = format!("{by:?}");
            let mut socket = front.open(by, Some(&token(&subject))).await.unwrap();
            assert_echo(&mut socket, Message::text("first")).await;

            let path = format!("/sessions?user={subject}");
            let admin = front.gateway.dir().join("state").join(SOCKET);
            let (status, _) = client::call(&admin, Method::DELETE, &path, None).await.unwrap();

            assert_eq!(status, 200);
            assert_closed(socket, &format!("{over:?} {by:?}")).await;
        }
        assert_echo(&mut other, Message::text("not mine")).await;
    }
}

#[tokio::test]
async fn an_expired_token_closes_its_web_sockets() {
    for (over, opens) in UPSTREAMS {
        let parrot = EchoWebSocket::start(over, opens).await;
        let secure = TlsGateway::new();
        let builder = secure.builder().moving().config(&parrot.service.config("", ""));
        let front = Front::start(&secure, builder).await;
        for by in BOTH {
            let token = front.token().await;
            let mut socket = front.open(by, Some(&token)).await.unwrap();
            assert_echo(&mut socket, Message::text("first")).await;

            front.gateway.advance(Duration::from_secs(16 * 60));

            assert_closed(socket, &format!("{over:?} {by:?}")).await;
        }
    }
}
