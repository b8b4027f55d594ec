//! A server that knows its answers by method and path, and remembers what it was asked. An answer is given as often as
//! it stands there, the last of its kind for ever.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// It is answered: status, further headers, body.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// It is read, and the connection closed.
    Lost,
    /// It is never answered.
    Hang,
    /// These bytes are the answer, as they are, and then the end.
    Raw(Vec<u8>),
    /// These bytes, then the others again and again for ever, at this pace.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// It is answered once the other side has given up.
    TooLate(u16, String),
}

/// A rail's clock: long after the expiry of the calls of these tests.
pub const LATER: &str = "Sat, 03 Jan 2026 00:00:00 GMT";

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method and path with query.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// How a request begins, and what is done with such ones.
type Script = Vec<(String, Vec<Act>)>;

pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Bytes of endless answers that somebody has taken, or that fill the buffers of the connection.
    poured: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Each request is served by the first line of the script that it begins with (`POST /v1/transfers`).
    pub async fn start(script: &[(&str, Vec<Act>)]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let poured = Arc::new(AtomicUsize::new(0));
        let script: Script = script.iter().map(|(line, acts)| ((*line).to_owned(), acts.clone())).collect();
        let script = Arc::new(Mutex::new(script));
        let task = tokio::spawn({
            let (seen, poured) = (Arc::clone(&seen), Arc::clone(&poured));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen), Arc::clone(&poured)));
                }
            }
        });
        Server { url, seen, poured, task }
    }

    pub fn poured(&self) -> usize {
        self.poured.load(Ordering::Relaxed)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests that begin so.
    pub fn asked(&self, line: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.line.starts_with(line)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// 200 and so on, with a JSON body.
pub fn reply(status: u16, body: impl Into<String>) -> Act {
    Act::Reply(status, Vec::new(), body.into())
}

fn act_for(script: &Mutex<Script>, line: &str) -> Act {
    let mut script = script.lock().unwrap();
    let Some((_, acts)) = script.iter_mut().find(|(begins, _)| line.starts_with(begins.as_str())) else {
        return reply(418, r#"{"nobody":"expected this"}"#);
    };
    if acts.len() > 1 { acts.remove(0) } else { acts[0].clone() }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    poured: Arc<AtomicUsize>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let act = act_for(&script, &request.line);
        seen.lock().unwrap().push(request);
        match act {
            Act::Lost => return,
            Act::Hang => std::future::pending().await,
            Act::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Endless(head, tail, pace) => {
                let _ = stream.write_all(&head).await;
                let mut pace = tokio::time::interval(pace.max(Duration::from_micros(1)));
                while stream.write_all(&tail).await.is_ok() {
                    poured.fetch_add(tail.len(), Ordering::Relaxed);
                    pace.tick().await;
                }
                return;
            }
            Act::TooLate(status, body) => {
                while stream.read_u8().await.is_ok() {}
                let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\n\r\n{body}").as_bytes()).await;
                return;
            }
            Act::Reply(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                if !headers.iter().any(|(name, _)| *name == "date") {
                    head.push_str(&format!("date: {LATER}\r\n"));
                }
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { line, headers, body: String::from_utf8(body).unwrap() })
}
