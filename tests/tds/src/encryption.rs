//! When a server uses TLS, and with which certificate.

use std::{fs, io, path::Path, sync::Arc};

use tokio_rustls::rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    version::TLS12,
};

use crate::wire::EncryptionOption;

/// How a server is set up to encrypt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// It cannot: a client that wants TLS gives up.
    NotSupported,
    /// As a client likes: everything, the login only, or nothing. SQL Server's default.
    #[default]
    Offered,
    /// Everything ("Force Encryption").
    Required,
}

/// What is encrypted on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Nothing,
    Login,
    Everything,
}

impl Encryption {
    /// What to reply to the client's ENCRYPTION, and what it comes to.
    ///
    /// A client that has no TLS at all is told that it must, as by SQL Server; tiberius then uses TLS all the same.
    pub(crate) fn negotiate(self, client: EncryptionOption) -> (EncryptionOption, Scope) {
        use EncryptionOption::{NotSupported, Off, On, Required};
        match (self, client) {
            (Self::NotSupported, _) | (Self::Offered, NotSupported) => {
                (NotSupported, Scope::Nothing)
            }
            (Self::Offered, Off) => (Off, Scope::Login),
            (Self::Required, Off | NotSupported) => (Required, Scope::Everything),
            (Self::Offered | Self::Required, On | Required) => (On, Scope::Everything),
        }
    }
}

/// A server's certificate and its key.
#[derive(Debug)]
pub struct Certificate {
    pem: String,
    key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// A new one for `localhost` and `127.0.0.1`.
    pub fn self_signed() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("BUG: both names are valid");
        Self {
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            chain: vec![made.cert.der().clone()],
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        }
    }

    /// A chain and its key in PEM.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or has something else in it.
    pub fn from_pem_files(chain: &Path, key: &Path) -> io::Result<Self> {
        let pem = fs::read_to_string(chain)?;
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        let key_pem = fs::read_to_string(key)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(io::Error::other)?;
        Ok(Self {
            pem,
            key_pem,
            chain,
            key,
        })
    }

    /// The chain in PEM, for a client to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key in PEM, for another process to show the same certificate.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// TLS 1.2 only, as SQL Server before TDS 8: the tickets of 1.3 would follow the end of the handshake, where a client
    /// expects TDS packets no more.
    pub(crate) fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS12])
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(self.chain.clone(), self.key.clone_key())
            })
            .map_err(io::Error::other)?;
        Ok(Arc::new(config))
    }
}
