//! Which adapters this process has. Which of them a tenant uses, and under which account, is a row; not said here.

use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::Rail;

use crate::Adapter;
use crate::null::Null;
use crate::sandbox::{SandboxBatch, SandboxFile, SandboxLookup, SandboxPayout};
use crate::transport::Transport;

/// Where the rails are and how long to wait for them.
#[derive(Debug, Clone)]
pub struct RailsConfig {
    /// The sandbox rail, as `http://host:port`; without it there are no sandbox adapters.
    pub sandbox_url: Option<String>,
    /// How long one call may take from first to last byte. Must end well before a rail's `request_lifetime`.
    pub call_timeout: Duration,
    /// Whether to offer `null`, which pays nobody and says that it has. For measuring.
    pub null_rail: bool,
}

/// Why there can be no registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The address of the sandbox is no base for requests.
    #[error(
        "the sandbox URL cannot be used ({why}): give it as http://host:port, without user, password, query or fragment"
    )]
    SandboxUrl {
        /// What is wrong with it. The URL itself may hold a password, so it is not repeated.
        why: &'static str,
    },
    /// Nothing could be answered in no time.
    #[error("the call timeout of the rails is zero: give it a few seconds")]
    NoTime,
    /// TLS or the resolver could not be set up.
    #[error("the HTTP client of the rails cannot be set up on this machine")]
    Client(#[source] reqwest::Error),
}

/// The adapters of this process, by name.
pub struct Registry {
    adapters: Vec<Arc<dyn Adapter>>,
}

impl Registry {
    /// All adapters that the configuration allows.
    pub fn new(config: &RailsConfig) -> Result<Registry, RegistryError> {
        let mut adapters: Vec<Arc<dyn Adapter>> = Vec::new();
        if config.null_rail {
            adapters.push(Arc::new(Null::new()));
        }
        if let Some(url) = &config.sandbox_url {
            let transport = Transport::new(url, config.call_timeout)?;
            adapters.push(Arc::new(SandboxPayout::new(transport.clone())));
            adapters.push(Arc::new(SandboxBatch::new(transport.clone())));
            adapters.push(Arc::new(SandboxLookup::new(transport.clone())));
            adapters.push(Arc::new(SandboxFile::new(transport)));
        }
        Ok(Registry { adapters })
    }

    /// A registry of these adapters and no others.
    pub fn of(adapters: Vec<Arc<dyn Adapter>>) -> Registry {
        Registry { adapters }
    }

    /// The adapter of the rail with this name.
    pub fn adapter(&self, name: &str) -> Option<Arc<dyn Adapter>> {
        self.adapters.iter().find(|adapter| adapter.rail().name == name).cloned()
    }

    /// The rails that can be used in this process.
    pub fn names(&self) -> Vec<&'static str> {
        self.adapters.iter().map(|adapter| adapter.rail().name).collect()
    }
}

/// The declaration of a rail that this crate has an adapter for.
pub(crate) fn declared(name: &'static str) -> &'static Rail {
    // A test below walks through all of them.
    Rail::named(name).expect("every adapter has its declaration in `domain`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_rail_has_its_adapter() {
        let config = RailsConfig {
            sandbox_url: Some("http://localhost:1".to_owned()),
            call_timeout: Duration::from_secs(1),
            null_rail: true,
        };
        let registry = Registry::new(&config).expect("a usable configuration");
        for rail in payfleet_domain::RAILS {
            let adapter = registry.adapter(rail.name).expect("an adapter");
            assert_eq!(adapter.rail(), rail);
        }
        assert_eq!(registry.names().len(), payfleet_domain::RAILS.len());
        assert!(registry.adapter("paypal").is_none());
        let registry = Registry::new(&RailsConfig { null_rail: false, ..config }).expect("a usable configuration");
        assert!(registry.adapter("null").is_none(), "it pays nobody, so it must be asked for");
    }

    #[test]
    fn an_unusable_address_is_refused_and_not_repeated() {
        for url in ["", "localhost:1", "ftp://h", "http://u:hunter2@h", "http://h/?token=hunter2", "http://h/#x"] {
            let config = RailsConfig {
                sandbox_url: Some(url.to_owned()),
                call_timeout: Duration::from_secs(1),
                null_rail: false,
            };
            let Err(error) = Registry::new(&config) else { panic!("{url} was taken") };
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
