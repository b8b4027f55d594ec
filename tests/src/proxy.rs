//! A TCP proxy between two programs, with weather: it passes, drips, cuts in the middle of a frame, swallows, or
//! refuses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// They come in small pieces, with a wait before each.
    Slow(Duration),
    /// One piece in this many ends somewhere in its middle, and the connection with it.
    Cut(u32),
    /// Nothing arrives on either side, and nothing is closed, until the weather changes; then the connection is.
    HalfOpen,
    /// The same, but only answers are swallowed: requests arrive and are executed.
    Deaf,
    /// The first answer on each connection is swallowed, and the connection closed.
    DropAnswers,
    /// There are no connections.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
struct State {
    weather: Weather,
    target: SocketAddr,
    /// Connections of an older era are closed.
    era: u32,
    /// Connections up to this era are not: nothing arrives on them any more, on either side.
    stranded: u32,
}

/// A listening proxy. Its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// Pieces of a slow connection.
const DRIP: usize = 256;

impl Proxy {
    /// Listens on a free port in front of `target`.
    pub async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(watch::Sender::new(State { weather: Weather::Fair, target, era: 1, stranded: 0 }));
        let listening = tokio::spawn(listen(listener, state.clone()));
        Proxy { address, state, listening }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, for the connections there are and for new ones.
    pub fn set(&self, weather: Weather) {
        self.state.send_modify(|state| state.weather = weather);
    }

    /// Nothing arrives any more on the connections there are, and nobody is told; new ones lead on. As when packets
    /// vanish while a name begins to point to another server.
    pub fn strand(&self) {
        self.state.send_modify(|state| {
            state.stranded = state.era;
            state.era += 1;
        });
    }

    /// Leads to another target from now on; the connections there are end, but for stranded ones.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| {
            state.target = target;
            state.era += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.state.send_modify(|state| {
            state.stranded = 0;
            state.era += 1;
        });
    }
}

async fn listen(listener: TcpListener, state: Arc<watch::Sender<State>>) {
    loop {
        // No file handle is left, for instance; the client sees a connection that does not open.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let watched = state.subscribe();
        let now = *watched.borrow();
        if now.weather == Weather::Refuse {
            reset(&client);
            continue;
        }
        tokio::spawn(connection(client, now, watched));
    }
}

/// Closes with RST instead of FIN, as a server that is gone does.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger(); // only its manner of closing
}

async fn connection(client: TcpStream, begun: State, watched: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(begun.target).await else {
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true); // only faster
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Whichever way ends first ends both: none of the protocols here goes on with half a connection.
    tokio::select! {
        () = pump(Direction::Request, from_client, to_server, begun.era, watched.clone()) => {}
        () = pump(Direction::Answer, from_server, to_client, begun.era, watched) => {}
    }
}

async fn pump(
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    era: u32,
    mut watched: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    // Bytes are missing: nothing that comes later may be passed on.
    let mut swallowed = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = watched.changed() => {
                let state = *watched.borrow_and_update();
                if changed.is_ok() && era <= state.stranded {
                    swallowed = true;
                    continue;
                }
                let swallows = matches!(state.weather, Weather::HalfOpen | Weather::Deaf);
                if changed.is_err()
                    || state.era != era
                    || state.weather == Weather::Refuse
                    || (swallowed && !swallows)
                {
                    return;
                }
                continue;
            }
        };
        let Ok(length @ 1..) = read else { return };
        let bytes = &buffer[..length];
        let weather = watched.borrow().weather;
        match (weather, direction) {
            _ if swallowed => {}
            (Weather::HalfOpen, _) | (Weather::Deaf, Direction::Answer) => swallowed = true,
            (Weather::DropAnswers, Direction::Answer) | (Weather::Refuse, _) => return,
            (Weather::Cut(one_in), _) if rand::random_ratio(1, one_in) => {
                let part = rand::random_range(0..length);
                let _ = to.write_all(&bytes[..part]).await; // it ends anyway
                return;
            }
            (Weather::Slow(wait), _) => {
                for piece in bytes.chunks(DRIP) {
                    tokio::time::sleep(wait).await;
                    if to.write_all(piece).await.is_err() {
                        return;
                    }
                }
            }
            (Weather::Fair | Weather::Deaf | Weather::DropAnswers | Weather::Cut(_), _) => {
                if to.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}
