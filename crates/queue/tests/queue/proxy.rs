//! A way to a Redis server that can be cut in the middle of a reply, and that can lead elsewhere from now on, as the
//! address of a failed-over server does.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Proxy {
    pub url: String,
    way: Arc<Mutex<Way>>,
    task: JoinHandle<()>,
}

struct Way {
    target: String,
    /// How many bytes of replies still come through before everything is cut; `None` is no end.
    left: Option<usize>,
}

impl Proxy {
    pub async fn to(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/0", listener.local_addr().unwrap());
        let way = Arc::new(Mutex::new(Way { target: address(server), left: None }));
        let task = tokio::spawn({
            let way = Arc::clone(&way);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(carry(client, Arc::clone(&way)));
                }
            }
        });
        Proxy { url, way, task }
    }

    /// New connections lead to another server; those that there are stay.
    pub fn lead_to(&self, server: &str) {
        self.way.lock().unwrap().target = address(server);
    }

    /// The reply that comes next is cut after so many bytes, and its connection with it. Later ones are whole.
    pub fn cut_after(&self, bytes: usize) {
        self.way.lock().unwrap().left = Some(bytes);
    }

    pub fn has_cut(&self) -> bool {
        self.way.lock().unwrap().left.is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn address(url: &str) -> String {
    url.trim_start_matches("redis://").trim_end_matches("/0").to_owned()
}

async fn carry(mut client: TcpStream, way: Arc<Mutex<Way>>) {
    let target = way.lock().unwrap().target.clone();
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut asked, mut replied) = ([0; 16384], [0; 16384]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(count @ 1..) => if server.write_all(&asked[..count]).await.is_err() { return },
                _ => return,
            },
            read = server.read(&mut replied) => {
                let Ok(count @ 1..) = read else { return };
                let through = {
                    let mut way = way.lock().unwrap();
                    match way.left {
                        Some(left) if left < count => { way.left = None; left }
                        Some(left) => { way.left = Some(left - count); count }
                        None => count,
                    }
                };
                if client.write_all(&replied[..through]).await.is_err() || through < count {
                    return;
                }
            }
        }
    }
}
