//! One connection through the proxy, packet by packet.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Fresh, Order, Ordered, Plan, Sent, Shared};

/// After so long without a byte the server has said all that it was asked for.
const QUIET: Duration = Duration::from_millis(50);

const QUIT: u8 = 0x01;
const QUERY: u8 = 0x03;
const PING: u8 = 0x0e;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;

/// Error 1317, as the server says it.
const INTERRUPTED: &[u8] = b"\xff\x25\x05#70100Query execution was interrupted";

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = payload.len().to_le_bytes();
    [&[a, b, c, number], payload].concat()
}

fn command(command: u8, text: &[u8]) -> Vec<u8> {
    packet(0, &[&[command], text].concat())
}

/// The first whole packet of these bytes.
fn take_packet(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes([*bytes.first()?, *bytes.get(1)?, *bytes.get(2)?, 0]);
    let whole = 4 + length as usize;
    (bytes.len() >= whole).then(|| bytes.drain(..whole).collect())
}

async fn read_packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet).await?;
    let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]);
    packet.resize(4 + length as usize, 0);
    stream.read_exact(&mut packet[4..]).await?;
    Ok(packet)
}

struct Prepared {
    packet: Vec<u8>,
    here: [u8; 4],
    there: [u8; 4],
}

/// One connection through the proxy.
pub(super) struct Link {
    plan: watch::Receiver<Plan>,
    shared: Arc<Shared>,
    /// What the client said first: who it is. Without a password that is true of any session.
    introduction: Vec<u8>,
    /// What was prepared: the number of the statement here and there.
    prepared: Vec<Prepared>,
    is_preparing: Option<Vec<u8>>,
}

impl Link {
    pub(super) fn new(plan: watch::Receiver<Plan>, shared: Arc<Shared>) -> Self {
        Self {
            plan,
            shared,
            introduction: Vec::new(),
            prepared: Vec::new(),
            is_preparing: None,
        }
    }

    pub(super) async fn serve(
        mut self,
        client: TcpStream,
        orders: mpsc::UnboundedReceiver<Ordered>,
    ) {
        let shared = Arc::clone(&self.shared);
        shared.held.fetch_add(1, Ordering::SeqCst);
        let plan = self.plan.wait_for(|plan| plan.fresh != Fresh::Held).await;
        shared.held.fetch_sub(1, Ordering::SeqCst);
        if let Ok(fresh) = plan.map(|plan| plan.fresh) {
            // However it ends, it has ended.
            drop(self.forward(client, orders, fresh).await);
        }
        shared.ends.fetch_add(1, Ordering::SeqCst);
    }

    /// Until one side closes, or for ever.
    async fn forward(
        &mut self,
        mut client: TcpStream,
        mut orders: mpsc::UnboundedReceiver<Ordered>,
        fresh: Fresh,
    ) -> io::Result<()> {
        if fresh == Fresh::Silent {
            return pending().await;
        }
        client.set_nodelay(true)?;
        let mut server = self.connect().await?;
        let (mut said, mut answer) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                biased;
                read = server.read_buf(&mut answer) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    self.note(&answer);
                    client.write_all(&answer).await?;
                    answer.clear();
                }
                read = client.read_buf(&mut said) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Some(mut packet) = take_packet(&mut said) {
                        match self.answer_to(&mut packet) {
                            Some(answer) => client.write_all(&answer).await?,
                            None => server.write_all(&packet).await?,
                        }
                        if fresh == Fresh::Greeted {
                            return pending().await;
                        }
                    }
                }
                Some((order, done)) = orders.recv() => {
                    match order {
                        Order::Silence => {
                            drop(done);
                            return pending().await;
                        }
                        Order::Swap => {
                            // An answer that is on its way, in some pieces, is not lost.
                            while let Ok(Ok(1..)) = timeout(QUIET, server.read_buf(&mut answer)).await {
                                self.note(&answer);
                                client.write_all(&answer).await?;
                                answer.clear();
                            }
                            server = self.another_session().await?;
                        }
                        Order::Say(sql) => {
                            server.write_all(&command(QUERY, sql.as_bytes())).await?;
                            read_packet(&mut server).await?;
                        }
                    }
                }
            }
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let to = self.plan.borrow().to.clone();
        let server = TcpStream::connect(to).await?;
        server.set_nodelay(true)?;
        Ok(server)
    }

    /// Notes a packet of the client; the answer, if the server is not to have it.
    fn answer_to(&mut self, said: &mut [u8]) -> Option<Vec<u8>> {
        if self.introduction.is_empty() {
            self.introduction = said.to_vec();
            return None;
        }
        self.shared.commands.fetch_add(1, Ordering::SeqCst);
        match said.get(4).copied() {
            Some(PREPARE) => {
                self.shared.preparations.fetch_add(1, Ordering::SeqCst);
                self.is_preparing = Some(said.to_vec());
            }
            Some(QUIT) => drop(self.shared.farewells.fetch_add(1, Ordering::SeqCst)),
            Some(EXECUTE) if self.interrupts(Sent::Prepared) => {
                return Some(packet(1, INTERRUPTED));
            }
            Some(QUERY) if self.interrupts(Sent::InWords) => {
                return Some(packet(1, INTERRUPTED));
            }
            Some(EXECUTE) => {
                let known = |prepared: &&Prepared| prepared.here == said[5..9];
                if let Some(prepared) = self.prepared.iter().find(known) {
                    said[5..9].copy_from_slice(&prepared.there);
                }
            }
            _ => {}
        }
        None
    }

    /// Whether it is to be interrupted.
    fn interrupts(&self, sent: Sent) -> bool {
        let left = &self.shared.interrupts[sent as usize];
        let fewer = |left: usize| left.checked_sub(1);
        let ordering = Ordering::SeqCst;
        left.fetch_update(ordering, ordering, fewer).is_ok()
    }

    /// Notes what the server says to a statement that is prepared.
    fn note(&mut self, answer: &[u8]) {
        let Some(packet) = self.is_preparing.take() else {
            return;
        };
        if let [_, _, _, 1, 0, a, b, c, d, ..] = *answer {
            let number = [a, b, c, d];
            self.prepared.push(Prepared {
                packet,
                here: number,
                there: number,
            });
        }
    }

    async fn another_session(&mut self) -> io::Result<TcpStream> {
        let mut server = self.connect().await?;
        read_packet(&mut server).await?;
        server.write_all(&self.introduction).await?;
        let welcome = read_packet(&mut server).await?;
        if welcome.get(4) != Some(&0) {
            return Err(io::Error::other("the server wants to know more"));
        }
        for prepared in &mut self.prepared {
            server.write_all(&prepared.packet).await?;
            server.write_all(&command(PING, b"")).await?;
            // Each answer begins with packet 1; that to the ping is the second.
            let answer = read_packet(&mut server).await?;
            prepared.there.copy_from_slice(&answer[5..9]);
            while read_packet(&mut server).await?[3] != 1 {}
        }
        Ok(server)
    }
}
