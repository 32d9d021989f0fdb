//! Requests at a steady rate, however slow the answers are.
//!
//! Each connection has a thread and every nth request of the schedule. A request that is due
//! while the answer before it is still awaited counts from when it was due, so that a stall is
//! seen by every request it would have held up (no coordinated omission). One that finds its
//! connection free counts from when it was sent: how late this program woke up is not the
//! proxy's latency.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Result, wire};

pub struct Load {
    pub address: SocketAddr,
    pub request: Vec<u8>,
    /// Requests a second, of all connections.
    pub rate: u32,
    pub seconds: u32,
    pub connections: u32,
}

/// Until the connections are open.
const LEAD: Duration = Duration::from_millis(200);

/// Left out at the beginning: caches and connections to the upstream are not yet warm.
const WARM_UP: Duration = Duration::from_millis(500);

/// Prints the quantiles in microseconds.
pub fn run(load: &Load) -> Result<()> {
    let start = Instant::now() + LEAD;
    let mut latencies = thread::scope(|scope| {
        let one = |number| scope.spawn(move || connection(load, start, number));
        let threads: Vec<_> = (0..load.connections).map(one).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Result::Ok(all)
    })?;
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        let latency = latencies.get(index.min(latencies.len().saturating_sub(1)));
        latency.map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    println!(
        "{{\"count\": {}, \"p50\": {:.1}, \"p99\": {:.1}, \"p999\": {:.1}, \"max\": {:.1}}}",
        latencies.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    Ok(())
}

fn connection(load: &Load, start: Instant, number: u32) -> Result<Vec<Duration>> {
    let mut connection = TcpStream::connect(load.address)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let step = Duration::from_secs(1).div_f64(load.rate.into());
    let end = start + Duration::from_secs(load.seconds.into());
    let mut due = start + step * number;
    let (mut latencies, mut buffer) = (Vec::new(), Vec::new());
    let mut free = Instant::now();
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let from = if free > due { due } else { Instant::now() };
        wire::exchange(&mut connection, &load.request, &mut buffer)?;
        free = Instant::now();
        if due >= start + WARM_UP {
            latencies.push(free - from);
        }
        due += step * load.connections;
    }
    Ok(latencies)
}
