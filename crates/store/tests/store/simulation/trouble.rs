//! What goes wrong in a simulation, by chance.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::NODES;
use super::draws::Draws;
use super::link::LinkState;
use super::world::World;

/// Makes trouble at one node, one after the other, with pauses.
pub(super) async fn trouble_node(world: Arc<World>, number: usize) {
    let mut draws = Draws::new(world.seed, "trouble", number);
    // Some nodes are in trouble half of the time, others hardly ever.
    let longest_pause = [3_000, 10_000, 30_000][draws.below(3)];
    while !world.is_over() {
        sleep(draws.millis(500, longest_pause)).await;
        let state = match draws.below(6) {
            0 => LinkState::Slow,
            1 | 2 => LinkState::Lossy,
            3 => LinkState::Refused,
            4 => LinkState::Silent,
            _ => {
                world.crash(number).await;
                sleep(draws.millis(100, 4000)).await;
                world.start(number).await;
                continue;
            }
        };
        world.set_link(number, state);
        // Longer than the node may rely on what it knows, now and then.
        sleep(draws.millis(100, 6000)).await;
        world.set_link(number, LinkState::Good);
    }
}

/// Makes trouble at the database; in one simulation of three it loses everything, once.
pub(super) async fn trouble_database(world: Arc<World>) {
    let mut draws = Draws::new(world.seed, "database", 0);
    let mut is_emptied = !draws.percent(33);
    while !world.is_over() {
        sleep(draws.millis(3000, 15_000)).await;
        world.set_database_away(true);
        sleep(draws.millis(100, 5000)).await;
        if !is_emptied && draws.percent(50) {
            is_emptied = true;
            world.empty_database();
        }
        world.set_database_away(false);
    }
}

/// Ends all trouble.
pub(super) async fn heal(world: &Arc<World>) {
    world.set_database_away(false);
    for number in 0..NODES {
        world.set_link(number, LinkState::Good);
    }
    // A node that is being started just now is there soon.
    while world.nodes.iter().any(|node| node.store().is_none()) {
        sleep(Duration::from_millis(100)).await;
    }
}
