//! Which adapters this process has. Which of them a tenant uses, and under which account, is a row; not said here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::Rail;

use crate::Adapter;
use crate::accounts::{Accounts, FundingAccount};
use crate::null::Null;
use crate::paypal::Paypal;
use crate::sandbox::{SandboxBatch, SandboxFile, SandboxLookup, SandboxPayout};
use crate::stripe::Stripe;
use crate::transport::Transport;
use crate::wise::Wise;

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
    /// A funding account cannot be used as it is described.
    #[error("{rail}, account `{account}`: {why}")]
    Account {
        /// Which rail.
        rail: &'static str,
        /// Which account.
        account: String,
        /// What is wrong. The address may hold a password, so it is not repeated.
        why: &'static str,
    },
    /// The file of the funding accounts cannot be read.
    #[error("the funding accounts in {} cannot be read", path.display())]
    AccountsUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file of the funding accounts is none.
    #[error("the file of the funding accounts cannot be used from byte {at} on: {why}")]
    AccountsFile {
        /// Where.
        at: usize,
        /// What is wrong. The line itself is not repeated: somebody may have written a secret there.
        why: String,
    },
    /// TLS or the resolver could not be set up.
    #[error("the HTTP client of the rails cannot be set up on this machine")]
    Client(#[source] reqwest::Error),
}

/// The adapters of this process, by name.
pub struct Registry {
    adapters: Vec<Arc<dyn Adapter>>,
    paypal: Option<Arc<Paypal>>,
    stripe: Option<Arc<Stripe>>,
    wise: Option<Arc<Wise>>,
    accounts: Vec<FundingAccount>,
}

/// What a process may do with the real rails.
#[derive(Debug, Clone, Default)]
pub struct RealRails {
    /// Their funding accounts. A rail without any is not offered.
    pub accounts: Accounts,
    /// Real money may be paid (`--live`). Without it an account that pays real money keeps the process from starting.
    pub live: bool,
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
        Ok(Registry::of(adapters))
    }

    /// The same, and the real rails that have funding accounts.
    pub fn with_real(config: &RailsConfig, real: &RealRails) -> Result<Registry, RegistryError> {
        let mut registry = Registry::new(config)?;
        let all = &real.accounts.accounts;
        for account in all {
            let (rail, name) = (account.rail(), account.name().to_owned());
            let wrong = |why| RegistryError::Account { rail, account: name, why };
            account.limits().check().map_err(wrong)?;
        }
        let paypal = Paypal::new(all.iter().filter_map(FundingAccount::paypal), config.call_timeout, real.live)?;
        let stripe = Stripe::new(all.iter().filter_map(FundingAccount::stripe), config.call_timeout, real.live)?;
        let wise = Wise::new(all.iter().filter_map(FundingAccount::wise), config.call_timeout, real.live)?;
        registry.paypal = paypal.map(Arc::new);
        registry.stripe = stripe.map(Arc::new);
        registry.wise = wise.map(Arc::new);
        registry.adapters.extend(registry.paypal.iter().map(|one| Arc::clone(one) as Arc<dyn Adapter>));
        registry.adapters.extend(registry.stripe.iter().map(|one| Arc::clone(one) as Arc<dyn Adapter>));
        registry.adapters.extend(registry.wise.iter().map(|one| Arc::clone(one) as Arc<dyn Adapter>));
        registry.accounts = all.clone();
        Ok(registry)
    }

    /// A registry of these adapters and no others.
    pub fn of(adapters: Vec<Arc<dyn Adapter>>) -> Registry {
        Registry { adapters, paypal: None, stripe: None, wise: None, accounts: Vec::new() }
    }

    /// PayPal, for what only it can do.
    pub fn paypal(&self) -> Option<Arc<Paypal>> {
        self.paypal.clone()
    }

    /// Stripe, for what only it can do.
    pub fn stripe(&self) -> Option<Arc<Stripe>> {
        self.stripe.clone()
    }

    /// Wise, for what only it can do.
    pub fn wise(&self) -> Option<Arc<Wise>> {
        self.wise.clone()
    }

    /// Calls a second that accounts allow, by rail and account, where their settings say otherwise than the rail's
    /// declaration.
    pub fn account_rates(&self) -> HashMap<(&'static str, String), u32> {
        let rate = |one: &FundingAccount| {
            let per_sec = one.limits().calls_per_sec.filter(|per_sec| *per_sec > 0)?;
            Some(((one.rail(), one.name().to_owned()), per_sec))
        };
        self.accounts.iter().filter_map(rate).collect()
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

    const ACCOUNTS: &str = r#"
        [[account]]
        rail = "paypal"
        name = "main"
        base_url = "https://api-m.sandbox.paypal.com"
        [[account]]
        rail = "stripe"
        name = "platform"
        base_url = "https://api.stripe.com"
        limits = { calls_per_sec = 25 }
        [[account]]
        rail = "wise"
        name = "business"
        base_url = "https://api.wise-sandbox.com"
        profile = 1
    "#;

    #[test]
    fn every_declared_rail_has_its_adapter() {
        let config = RailsConfig {
            sandbox_url: Some("http://localhost:1".to_owned()),
            call_timeout: Duration::from_secs(1),
            null_rail: true,
        };
        let real = RealRails { accounts: Accounts::from_toml(ACCOUNTS).expect("a file in order"), live: false };
        let registry = Registry::with_real(&config, &real).expect("a usable configuration");
        for rail in payfleet_domain::RAILS {
            let adapter = registry.adapter(rail.name).expect("an adapter");
            assert_eq!(adapter.rail(), rail);
        }
        assert_eq!(registry.names().len(), payfleet_domain::RAILS.len());
        assert!(registry.paypal().is_some() && registry.stripe().is_some() && registry.wise().is_some());
        assert_eq!(registry.account_rates(), HashMap::from([(("stripe", "platform".to_owned()), 25)]));
        let twice = format!("{ACCOUNTS}{ACCOUNTS}");
        let real = RealRails { accounts: Accounts::from_toml(&twice).expect("a file in order"), live: false };
        assert!(Registry::with_real(&config, &real).is_err(), "two accounts of one name");
        let registry = Registry::new(&config).expect("a usable configuration");
        assert!(registry.adapter("paypal").is_none(), "it has no account");
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
