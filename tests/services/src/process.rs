//! A process of a service, and what it answers.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::sleep;

/// A process that serves. Killed when dropped.
#[derive(Debug)]
pub struct Service {
    url: String,
    client: Client,
    child: Child,
    log: watch::Receiver<String>,
}

/// What a service answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The header `Content-Type`.
    pub content_type: String,
    /// The body; `Null` when there is none.
    pub body: Value,
}

impl Service {
    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it ends before that.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command
            .env("LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let log = collect(child.stderr.take().expect("it is piped"));
        let mut printed = collect(child.stdout.take().expect("it is piped"));
        let line = printed.wait_for(|text| text.ends_with('\n')).await;
        let url = match line {
            Ok(line) => line.trim().replace("listening on ", ""),
            Err(_) => panic!("it ended before it listened: {}", log.borrow().as_str()),
        };
        // A service that ends need not wait for connections that may be used once more.
        let client = Client::builder().pool_max_idle_per_host(0).no_proxy();
        Self {
            url,
            client: client.build().expect("it needs nothing"),
            child,
            log,
        }
    }

    /// Asks for something.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.answered(self.ask(Method::GET, path, Value::Null).await)
    }

    /// Asks to do something.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.answered(self.ask(Method::POST, path, body).await)
    }

    /// Asks to do something, without a body.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn try_post(&self, path: &str) -> reqwest::Result<Answer> {
        self.ask(Method::POST, path, Value::Null).await
    }

    fn answered(&self, answer: reqwest::Result<Answer>) -> Answer {
        answer.unwrap_or_else(|error| panic!("{error:?}: {}", self.log()))
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> reqwest::Result<Answer> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let response = request.send().await?;
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().expect("it is text").to_owned())
        };
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: header("retry-after"),
            content_type: header("content-type").unwrap_or_default(),
            body: {
                let text = response.text().await?;
                serde_json::from_str(&text).unwrap_or_default()
            },
        })
    }

    /// What it has written into its log.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until its log says this.
    ///
    /// # Panics
    ///
    /// When it ends before that.
    pub async fn says(&self, text: &str) {
        let mut log = self.log.clone();
        let said = log.wait_for(|log| log.contains(text)).await.is_ok();
        assert!(said, "it ended before it said `{text}`: {}", self.log());
    }

    /// Sends it this signal: `TERM` to ask it to end, `KILL` to kill it.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.await.expect("there is a kill").success());
    }

    /// Waits until it takes no further requests.
    pub async fn stops_listening(&self) {
        let address = self.url.trim_start_matches("http://");
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.expect("it is ours")
    }
}

impl Answer {
    /// Whether it says that somebody else has the lock: by a problem as in RFC 9457, and when to come again.
    pub fn is_busy(&self) -> bool {
        self.is_problem(409) && self.retry_after.as_deref() == Some("1")
    }

    /// Whether it is a problem as in RFC 9457, with this status.
    pub fn is_problem(&self, status: u16) -> bool {
        self.status == status
            && self.content_type == "application/problem+json"
            && self.body["status"] == status
    }
}

/// What comes out of there, as it comes.
fn collect(from: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (text, receiver) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            text.send_modify(|text| {
                text.push_str(&line);
                text.push('\n');
            });
        }
    });
    receiver
}
