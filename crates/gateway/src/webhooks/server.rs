//! Connections: how many, and how long their headers may take. What is asked over them is answered in [`hear`].

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use payfleet_runtime::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::hear::Ear;
use crate::options::WebhooksArgs;

/// How long the headers of a request may take, or the next request on a connection.
const HEADERS: Duration = Duration::from_secs(15);
/// Headers of a request, at most: rails and the proxies before us send about 25.
const MOST_HEADERS: usize = 64;
/// Bytes of them, at most; what is longer is answered 431.
const HEADER_BYTES: usize = 16 * 1024;

/// Serves until asked to end, then lets what is in hand finish.
pub(super) async fn serve(listener: TcpListener, ear: Arc<Ear>, args: &WebhooksArgs, shutdown: &Shutdown) {
    let places = Arc::new(Semaphore::new(args.connections.into()));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = shutdown.requested() => break,
            place = Arc::clone(&places).acquire_owned() => place,
            // So that connections that have ended do not pile up.
            Some(_) = connections.join_next() => continue,
        };
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = connection(stream, Arc::clone(&ear), shutdown.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will be free again.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout_at(shutdown.deadline(args.drain), finished).await.is_err() {
        tracing::warn!("some requests did not finish in time; their rails send them again");
    }
}

async fn connection(stream: TcpStream, ear: Arc<Ear>, shutdown: Shutdown) {
    // Without it answers wait for the client's acknowledgement; if it cannot be had they just do.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let ear = Arc::clone(&ear);
        async move { Ok::<_, std::convert::Infallible>(ear.hear(request.map(Body::new)).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(MOST_HEADERS).max_buf_size(HEADER_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
