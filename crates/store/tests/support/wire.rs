//! Postgres' wire protocol, as far as something in the middle must understand it: what the client sends is cut into
//! messages and handed over in the groups that it flushes, and may be held back or changed there; what the server
//! answers may be looked at.

#![allow(dead_code)] // each test uses its part

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The request for TLS that a client makes before anything else, and the one to cancel another session's statement.
const SSL_REQUEST: u32 = 80877103;
const CANCEL_REQUEST: u32 = 80877102;

type Incoming = BufReader<OwnedReadHalf>;

/// One message. Its length is not kept: it follows from the body.
#[derive(Debug, Clone)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Message {
    async fn read(from: &mut Incoming) -> io::Result<Message> {
        let tag = from.read_u8().await?;
        Ok(Message { tag, body: read_body(from).await? })
    }

    fn append(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.tag);
        bytes.extend((self.body.len() as u32 + 4).to_be_bytes());
        bytes.extend(&self.body);
    }

    /// The statement that a Query or a Parse carries, and the name under which it will be known.
    pub fn statement(&self) -> Option<(&str, &str)> {
        let mut parts = self.body.split(|byte| *byte == 0).map(|part| std::str::from_utf8(part).unwrap_or(""));
        match self.tag {
            b'Q' => Some(("", parts.next()?)),
            b'P' => Some((parts.next()?, parts.next()?)),
            _ => None,
        }
    }

    /// The name of the prepared statement that a Bind refers to.
    pub fn bound(&self) -> Option<&str> {
        match self.tag {
            b'B' => std::str::from_utf8(self.body.split(|byte| *byte == 0).nth(1)?).ok(),
            _ => None,
        }
    }

    /// The same with another statement.
    pub fn with_statement(&self, sql: &str) -> Message {
        let (name, old) = self.statement().expect("only a Query or a Parse carries a statement");
        let head = if self.tag == b'P' { name.len() + 1 } else { 0 };
        let body = [&self.body[..head], sql.as_bytes(), &self.body[head + old.len()..]].concat();
        Message { tag: self.tag, body }
    }

    /// Whether this ends what a client flushes: it now waits for an answer, or streams the data of a COPY.
    fn ends_group(&self) -> bool {
        matches!(self.tag, b'S' | b'Q' | b'H' | b'd' | b'c' | b'f' | b'X')
    }
}

async fn read_body(from: &mut Incoming) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    from.read_exact(&mut body).await?;
    Ok(body)
}

/// What is done with the traffic of one connection.
pub trait Session: Send + Sync + 'static {
    /// May change a group, and may wait before it lets it go on.
    fn to_server(&self, group: Vec<Message>) -> BoxFuture<'_, Vec<Message>>;

    /// Sees what the server answers, before the client does.
    fn to_client(&self, _message: &Message) {}
}

/// Listens on a port of its own and speaks to the server of `url`. Ends with the runtime.
pub struct Proxy {
    /// The same as the given URL, but through this.
    pub url: String,
}

impl Proxy {
    pub async fn start(url: &str, session: impl Fn() -> Arc<dyn Session> + Send + Sync + 'static) -> Proxy {
        let options = PgConnectOptions::from_str(url).unwrap();
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let proxied = url.replacen(&place, &own, 1);
        assert_ne!(proxied, url, "the URL must name host and port");
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (place, session) = (place.clone(), session());
                // A connection that breaks is the business of its two ends.
                tokio::spawn(async move { connection(client, &place, session).await });
            }
        });
        Proxy { url: proxied }
    }
}

async fn connection(client: TcpStream, server: &str, session: Arc<dyn Session>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let (mut from_client, mut from_server) = (BufReader::new(from_client), BufReader::new(from_server));
    let startup = loop {
        let body = read_body(&mut from_client).await?;
        match body.first_chunk().map(|code| u32::from_be_bytes(*code)) {
            Some(SSL_REQUEST) => to_client.write_all(b"N").await?,
            _ => break body,
        }
    };
    to_server.write_all(&[&(startup.len() as u32 + 4).to_be_bytes(), startup.as_slice()].concat()).await?;
    if startup.starts_with(&CANCEL_REQUEST.to_be_bytes()) {
        return Ok(());
    }
    let answers = {
        let session = session.clone();
        tokio::spawn(async move { backward(&mut from_server, &mut to_client, &*session).await })
    };
    let ended = forward(&mut from_client, &mut to_server, &*session).await;
    // The client is gone: the server must see that too. What it still answers nobody reads.
    let _ = to_server.shutdown().await;
    let _ = answers.await;
    ended
}

async fn forward(from: &mut Incoming, to: &mut OwnedWriteHalf, session: &dyn Session) -> io::Result<()> {
    let mut group = Vec::new();
    loop {
        group.push(Message::read(from).await?);
        if group.last().is_some_and(Message::ends_group) {
            let mut bytes = Vec::new();
            for message in session.to_server(std::mem::take(&mut group)).await {
                message.append(&mut bytes);
            }
            to.write_all(&bytes).await?;
        }
    }
}

async fn backward(from: &mut Incoming, to: &mut OwnedWriteHalf, session: &dyn Session) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let message = Message::read(from).await?;
        session.to_client(&message);
        message.append(&mut bytes);
        if from.buffer().is_empty() {
            to.write_all(&bytes).await?;
            bytes.clear();
        }
    }
}
