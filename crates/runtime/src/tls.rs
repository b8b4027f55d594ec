//! TLS of what is not Postgres.

/// Has the TLS clients of this process, to rails and to Redis, use the cryptography of its connections to Postgres,
/// *ring*. Without it, building one panics: reqwest brings either a second library, whose C compiles for half a minute,
/// or none, and so does redis.
pub fn cryptography_set() {
    // An error says that it was set before.
    let _set_before = rustls::crypto::ring::default_provider().install_default();
}
