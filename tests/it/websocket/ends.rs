//! A WebSocket ends with its session or token by 1008, whatever both sides speak.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::{BOTH, Front, Parrot, UPSTREAMS};
use crate::forwarding::Secure;
use crate::streams::{assert_closed, assert_echo};

#[tokio::test]
async fn a_logout_closes_the_sessions_web_sockets() {
    for (over, opens) in UPSTREAMS {
        let parrot = Parrot::start(over, opens).await;
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
async fn an_expired_token_closes_its_web_sockets() {
    for (over, opens) in UPSTREAMS {
        let parrot = Parrot::start(over, opens).await;
        let secure = Secure::new();
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
