//! A client that has one session of one server for itself.

use std::io;
use std::sync::Arc;

use super::packet::{EXECUTE, Packet, QUERY};
use crate::transport::{Address, CountedSession, Counts, Transport};

#[derive(Debug, Clone)]
pub(super) enum Relay {
    Unchanged,
    Answer { from: String, to: String },
}

impl Relay {
    /// Until one side closes.
    pub(super) async fn serve(
        &self,
        mut client: Transport,
        server: &Address,
        counts: &Arc<Counts>,
    ) -> io::Result<()> {
        let mut server = Transport::connect(server).await?;
        let _counted = CountedSession::new(counts);
        loop {
            tokio::select! {
                filled = client.fill() => {
                    filled?;
                    let packets = pass(&mut client, |packet| {
                        let command = packet.payload.first();
                        if packet.number == 0 && matches!(command, Some(&(QUERY | EXECUTE))) {
                            counts.count_statement();
                        }
                    });
                    server.write(&packets).await?;
                }
                filled = server.fill() => {
                    filled?;
                    let packets = pass(&mut server, |packet| self.change(packet));
                    client.write(&packets).await?;
                }
            }
        }
    }

    fn change(&self, packet: &mut Packet) {
        let Self::Answer { from, to } = self else {
            return;
        };
        // Values of rows are preceded by their lengths; the version in a greeting ends with NUL.
        let in_rows = |text: &str| {
            let length = u8::try_from(text.len()).expect("the text is short");
            [&[length], text.as_bytes()].concat()
        };
        let in_greeting = |text: &str| format!("{text}\0").into_bytes();
        let (from, to) = if packet.number == 0 {
            (in_greeting(from), in_greeting(to))
        } else {
            (in_rows(from), in_rows(to))
        };
        let mut start = 0;
        while let Some(rest) = packet.payload.get(start..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with(&from) {
                packet
                    .payload
                    .splice(start..start + from.len(), to.iter().copied());
                start += to.len();
            } else {
                start += 1;
            }
        }
    }
}

/// All whole packets that have arrived.
fn pass(from: &mut Transport, mut see: impl FnMut(&mut Packet)) -> Vec<u8> {
    let mut packets = Vec::new();
    while let Some(mut packet) = Packet::take(&mut from.arrived) {
        see(&mut packet);
        packet.encode(&mut packets);
    }
    packets
}
