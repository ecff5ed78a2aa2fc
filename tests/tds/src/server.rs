//! A server, and what is done to it from outside.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    Answer, Certificate, Encryption, Sessions,
    connection::{Shared, serve},
};

/// How a server is set up.
#[derive(Debug)]
pub struct Options {
    /// Where it listens; port 0 for any.
    pub address: SocketAddr,
    /// Whether it uses TLS.
    pub encryption: Encryption,
    /// What it shows.
    pub certificate: Certificate,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            encryption: Encryption::default(),
            certificate: Certificate::self_signed(),
        }
    }
}

/// A server. Dropping it closes all its connections.
#[derive(Debug)]
#[must_use = "a server that is dropped stops"]
pub struct Server<A> {
    shared: Arc<Shared<A>>,
    address: SocketAddr,
    certificate: Certificate,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl<A: Answer> Server<A> {
    /// Starts one on any port of 127.0.0.1, with a certificate of its own.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub async fn start(handler: A) -> io::Result<Self> {
        Self::start_with(Options::default(), handler).await
    }

    /// Starts one.
    ///
    /// # Errors
    ///
    /// When the port cannot be had, or the certificate is not fit for TLS.
    pub async fn start_with(options: Options, handler: A) -> io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let tls = options.certificate.config()?;
        let server = Self {
            shared: Arc::new(Shared {
                handler,
                sessions: Sessions::default(),
                encryption: options.encryption,
                tls,
            }),
            address: listener.local_addr()?,
            certificate: options.certificate,
            connections: Arc::default(),
            accepting: Mutex::default(),
        };
        server.accept_on(listener);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it shows to who connects with TLS.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Who knows the answers.
    pub fn handler(&self) -> &A {
        &self.shared.handler
    }

    /// Who is logged in.
    pub fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    /// Connections are refused when this returns. Those that are open stay.
    pub async fn stop_accepting(&self) {
        let accepting = self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = accepting {
            task.abort();
            // An error says that it was aborted.
            let _ = task.await;
        }
    }

    /// Connections are accepted again, on the same port.
    ///
    /// # Errors
    ///
    /// When somebody else has taken the port.
    pub async fn accept_again(&self) -> io::Result<()> {
        self.stop_accepting().await;
        self.accept_on(TcpListener::bind(self.address).await?);
        Ok(())
    }

    fn accept_on(&self, listener: TcpListener) {
        let task = tokio::spawn(accept(
            listener,
            self.shared.clone(),
            self.connections.clone(),
        ));
        *self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(task);
    }
}

impl<A> Drop for Server<A> {
    fn drop(&mut self) {
        if let Some(task) = self
            .accepting
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort();
        }
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

async fn accept<A: Answer>(
    listener: TcpListener,
    shared: Arc<Shared<A>>,
    connections: Arc<Mutex<JoinSet<()>>>,
) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(tcp, shared.clone()));
            }
            // Of a connection that was closed before it was accepted, or there are too many: the next may be better.
            Err(error) => {
                eprintln!("dlock-tds: {error}");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
