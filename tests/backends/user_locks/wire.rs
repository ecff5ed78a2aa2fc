//! The protocol itself, for what no statement does: a connection that a pool of another language resets.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_reset_connection.html>

use sea_orm::sqlx::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::options::options;
use crate::suite::{Failure, Outcome};

const QUERY: u8 = 0x03;
const RESET_CONNECTION: u8 = 0x1f;

/// CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x0200 | 0x8000 | 0x0008_0000;

/// A session of an account without a password.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn connect(url: &str) -> Outcome<Self> {
        let port = options(url)?.to_url_lossy().port().unwrap_or(3306);
        let mut wire = Self(TcpStream::connect(("127.0.0.1", port)).await?);
        let (sequence, _greeting) = wire.read().await?;
        let mut login = CAPABILITIES.to_le_bytes().to_vec();
        login.extend((1_u32 << 24).to_le_bytes());
        // utf8mb4, what is reserved, the account, no password, how it is proven.
        login.push(45);
        login.extend([0; 23]);
        login.extend(b"wire\0\0mysql_native_password\0");
        wire.write(sequence + 1, &login).await?;
        loop {
            let (sequence, answer) = wire.read().await?;
            match answer.first() {
                Some(0x00) => return Ok(wire),
                // To be proven in another way: with no password, too. Or that is proven by now.
                Some(0xfe) => wire.write(sequence + 1, b"").await?,
                Some(0x01) => {}
                _ => return Err(Failure::new(format!("login: {answer:?}"))),
            }
        }
    }

    async fn read(&mut self) -> Outcome<(u8, Vec<u8>)> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).await?;
        let [a, b, c, sequence] = header;
        let mut payload = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
        self.0.read_exact(&mut payload).await?;
        Ok((sequence, payload))
    }

    async fn write(&mut self, sequence: u8, payload: &[u8]) -> Outcome {
        let length = u32::try_from(payload.len())?.to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], sequence];
        packet.extend(payload);
        Ok(self.0.write_all(&packet).await?)
    }

    /// A statement without rows.
    pub(crate) async fn run(&mut self, sql: &str) -> Outcome {
        let payload = [&[QUERY], sql.as_bytes()].concat();
        self.call(&payload).await
    }

    pub(crate) async fn reset(&mut self) -> Outcome {
        self.call(&[RESET_CONNECTION]).await
    }

    async fn call(&mut self, payload: &[u8]) -> Outcome {
        self.write(0, payload).await?;
        match self.read().await? {
            (_, answer) if answer.first() == Some(&0x00) => Ok(()),
            (_, answer) => Err(Failure::new(format!("{payload:?}: {answer:?}"))),
        }
    }
}
