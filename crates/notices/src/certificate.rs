//! The certificate of whoever signs: where it may come from, and whether its chain is to be believed.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use url::Url;
use webpki::{EndEntityCert, KeyUsage};

/// Whose hosts PayPal's certificates come from.
const PAYPAL: &str = "paypal.com";

/// More certificates than this are no chain.
const CERTIFICATES: usize = 8;

/// Who is believed about certificates.
#[derive(Debug, Clone)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// A certificate must be of a host under this name.
    under: Option<&'static str>,
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none in what was read.
    #[error("there is no certificate in it")]
    None,
    /// It is of a host that is none of the rail's.
    #[error("it is the certificate of another host")]
    Name,
    /// It is not readable, or its chain does not lead to an authority that is believed now.
    #[error("its chain cannot be verified: {0:?}")]
    Chain(webpki::Error),
}

/// A certificate, and who vouches for it: whoever issued it, and so on, without the last.
#[derive(Debug, Clone)]
pub struct Chain(Vec<CertificateDer<'static>>);

/// The address, if PayPal's certificates may be fetched from there: only https, on `paypal.com` or a host under it.
pub fn certificate_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    // A name with a dot at its end is the same host to a resolver, and another to whoever compares.
    let is_paypals = url.domain().is_some_and(|host| is_under(host, PAYPAL));
    (url.scheme() == "https" && is_plain && is_paypals).then_some(url)
}

/// Whether a host is this one, or one below it.
fn is_under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl Authorities {
    /// The public ones (Mozilla's list, as this program was built with it), for certificates of PayPal's hosts.
    pub fn public() -> Authorities {
        Authorities { anchors: webpki_roots::TLS_SERVER_ROOTS.to_vec(), under: Some(PAYPAL) }
    }

    /// Those of a PEM alone, whatever the host is called: for a rehearsal's own server. An error says what is wrong
    /// with it.
    pub fn from_pem(pem: &str) -> Result<Authorities, CertificateError> {
        let roots: Vec<_> = certificates(pem.as_bytes())?;
        let anchors = roots.iter().map(|root| Ok(webpki::anchor_from_trusted_cert(root)?.to_owned()));
        let anchors = anchors.collect::<Result<_, _>>().map_err(CertificateError::Chain)?;
        Ok(Authorities { anchors, under: None })
    }

    /// Whether they are the public ones.
    pub fn is_public(&self) -> bool {
        self.under.is_some()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(CERTIFICATES).collect();
    read.ok().filter(|all| !all.is_empty()).ok_or(CertificateError::None)
}

impl Chain {
    /// The certificates of a PEM, the one that signs first. Nobody has vouched for them yet.
    pub fn from_pem(pem: &[u8]) -> Result<Chain, CertificateError> {
        certificates(pem).map(Chain)
    }

    /// Whether these authorities vouch for it at this time. It must be good for a server, which is what PayPal's are
    /// made for (whether they will always be is unverified).
    pub fn check(&self, authorities: &Authorities, now: OffsetDateTime) -> Result<(), CertificateError> {
        let leaf = self.leaf().map_err(CertificateError::Chain)?;
        if authorities.under.is_some_and(|under| !leaf.valid_dns_names().any(|name| is_under(name, under))) {
            return Err(CertificateError::Name);
        }
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let (algorithms, usage) = (webpki::ALL_VERIFICATION_ALGS, KeyUsage::server_auth());
        let issuers = self.0.get(1..).unwrap_or_default();
        let checked = leaf.verify_for_usage(algorithms, &authorities.anchors, issuers, now, usage, None, None);
        checked.map(drop).map_err(CertificateError::Chain)
    }

    /// Whether its owner signed this: RSA PKCS#1 v1.5, SHA-256. Says nothing of who that is (see
    /// [`check`](Chain::check)).
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(leaf) = self.leaf() else { return false };
        leaf.verify_signature(webpki::ring::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }

    fn leaf(&self) -> Result<EndEntityCert<'_>, webpki::Error> {
        EndEntityCert::try_from(&self.0[0]) // `from_pem` makes none that is empty
    }
}
