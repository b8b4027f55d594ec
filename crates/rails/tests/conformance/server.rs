//! A server that does exactly what it is told, request by request, and remembers what it was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What to do with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Close every connection without reading. Only as the first act.
    DropUnread,
    /// Read the request, then close without a byte.
    DropRead,
    /// Answer, and keep the connection.
    Reply(u16, String),
    /// Write these bytes as they are, then close.
    Raw(Vec<u8>),
    /// Write these bytes, then the others again and again for ever, at this pace.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// Never answer.
    Hang,
    /// Answer once the other side has given up.
    ReplyTooLate(u16, String),
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Bytes of endless answers that somebody has taken, or that fill the buffers of the connection.
    taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Does the acts in their order, and the last of them for every further request.
    pub async fn start(acts: Vec<Act>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::new(AtomicUsize::new(0));
        let script = Arc::new(Mutex::new((0, acts)));
        let task = tokio::spawn({
            let (seen, taken) = (Arc::clone(&seen), Arc::clone(&taken));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen), Arc::clone(&taken)));
                }
            }
        });
        Server { url, seen, taken, task }
    }

    pub async fn with(act: Act) -> Server {
        Server::start(vec![act]).await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

type Script = Arc<Mutex<(usize, Vec<Act>)>>;

fn next_act(script: &Script) -> Act {
    let mut script = script.lock().unwrap();
    let act = script.1[script.0.min(script.1.len() - 1)].clone();
    script.0 += 1;
    act
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<Seen>>>, taken: Arc<AtomicUsize>) {
    loop {
        if matches!(script.lock().unwrap().1.first(), Some(Act::DropUnread)) {
            return;
        }
        let Some(request) = read_request(&mut stream).await else { return };
        seen.lock().unwrap().push(request);
        match next_act(&script) {
            Act::DropUnread | Act::DropRead => return,
            Act::Reply(status, body) => {
                if stream.write_all(reply(status, &body).as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Endless(head, tail, pace) => {
                let _ = stream.write_all(&head).await;
                let mut pace = tokio::time::interval(pace.max(Duration::from_micros(1)));
                while stream.write_all(&tail).await.is_ok() {
                    taken.fetch_add(tail.len(), Ordering::Relaxed);
                    pace.tick().await;
                }
                return;
            }
            Act::Hang => std::future::pending().await,
            Act::ReplyTooLate(status, body) => {
                while stream.read_u8().await.is_ok() {}
                let _ = stream.write_all(reply(status, &body).as_bytes()).await;
                return;
            }
        }
    }
}

/// With a date, as servers do: later than the expiry of our calls.
fn reply(status: u16, body: &str) -> String {
    let date = "date: Sat, 03 Jan 2026 00:00:00 GMT";
    format!("HTTP/1.1 {status} X\r\n{date}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes[head_end + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { line, headers, body: String::from_utf8(body).unwrap() })
}
