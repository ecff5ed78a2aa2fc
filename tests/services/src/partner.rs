//! The partner of a service: takes money, keeps the books and sends letters. What arrives here has been done, and the request that it is done for holds its lock until the answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::Uri;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A partner who answers at once, unless told to [hold](Self::hold) the calls.
#[derive(Debug)]
pub struct Partner {
    /// Where the partner is.
    pub url: String,
    book: Arc<Book>,
    held: tokio::sync::Mutex<mpsc::UnboundedReceiver<Call>>,
}

#[derive(Debug)]
struct Book {
    calls: Mutex<Vec<(String, Value)>>,
    hold: AtomicBool,
    held: mpsc::UnboundedSender<Call>,
}

/// A call that waits for its answer.
#[derive(Debug)]
pub struct Call(oneshot::Sender<()>);

impl Call {
    /// Answers it. The caller may have gone.
    pub fn answer(self) {
        let _gone = self.0.send(());
    }
}

impl Partner {
    /// Opens for business.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn open() -> Self {
        let (sender, held) = mpsc::unbounded_channel();
        let book = Arc::new(Book {
            calls: Mutex::default(),
            hold: AtomicBool::new(false),
            held: sender,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&book));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}"),
            book,
            held: tokio::sync::Mutex::new(held),
        }
    }

    /// From now on calls wait for their answer.
    pub fn hold(&self) {
        self.book.hold.store(true, Ordering::SeqCst);
    }

    /// From now on they do not.
    pub fn go_on(&self) {
        self.book.hold.store(false, Ordering::SeqCst);
    }

    /// The next call that waits for its answer.
    ///
    /// # Panics
    ///
    /// When the partner has closed.
    pub async fn next_call(&self) -> Call {
        let call = self.held.lock().await.recv().await;
        call.expect("the partner is open")
    }

    /// What was asked for there so far, answered or not.
    pub fn calls(&self, path: &str) -> Vec<Value> {
        let calls = self.book.calls();
        let here = calls.iter().filter(|(called, _)| called == path);
        here.map(|(_, body)| body.clone()).collect()
    }
}

impl Book {
    fn calls(&self) -> MutexGuard<'_, Vec<(String, Value)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(State(book): State<Arc<Book>>, uri: Uri, Json(body): Json<Value>) {
    book.calls().push((uri.path().to_owned(), body));
    if book.hold.load(Ordering::SeqCst) {
        let (call, answered) = oneshot::channel();
        let _closed = book.held.send(Call(call));
        let _closed = answered.await;
    }
}
