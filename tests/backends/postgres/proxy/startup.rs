//! The first message of a client, which says who it is.

use std::io;

use super::message::split_text;
use crate::transport::Transport;

const VERSION_3: u32 = 3 << 16;
const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

#[derive(Debug, Clone)]
pub(super) struct Startup {
    parameters: Vec<(String, String)>,
}

impl Startup {
    /// `None` for a cancel request.
    pub(super) async fn receive(client: &mut Transport) -> io::Result<Option<Self>> {
        loop {
            let Some((code, body)) = take(&mut client.arrived) else {
                client.fill().await?;
                continue;
            };
            match code {
                SSL_REQUEST | GSSENC_REQUEST => client.write(b"N").await?,
                CANCEL_REQUEST => return Ok(None),
                VERSION_3 => return Self::parse(&body).map(Some),
                other => {
                    let unknown = format!("start-up message with code {other}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, unknown));
                }
            }
        }
    }

    fn parse(mut body: &[u8]) -> io::Result<Self> {
        let mut parameters = Vec::new();
        loop {
            let (name, rest) = split_text(body)?;
            if name.is_empty() {
                return Ok(Self { parameters });
            }
            let (value, rest) = split_text(rest)?;
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            parameters.push((text(name), text(value)));
            body = rest;
        }
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut body = VERSION_3.to_be_bytes().to_vec();
        for (name, value) in &self.parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).expect("a start-up message is short");
        [&length.to_be_bytes(), &*body].concat()
    }

    pub(super) fn options(&self) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let options = parameters.find(|(name, _)| name == "options");
        options.map(|(_, value)| &**value)
    }

    pub(super) fn without_options(&self) -> Self {
        let mut parameters = self.parameters.clone();
        parameters.retain(|(name, _)| name != "options");
        Self { parameters }
    }

    /// All settings that the client starts with, by parameters and by options.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let no_settings = ["user", "database", "options"];
        let mut settings = self.parameters.clone();
        settings.retain(|(name, _)| !no_settings.contains(&&**name));
        settings.extend(settings_in(self.options().unwrap_or_default()));
        settings
    }
}

/// The first whole start-up message of these bytes: its code, its body.
fn take(arrived: &mut Vec<u8>) -> Option<(u32, Vec<u8>)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let whole = number(arrived.get(0..4)?) as usize;
    let code = number(arrived.get(4..8)?);
    if arrived.len() < whole {
        return None;
    }
    Some((code, arrived.drain(..whole).skip(8).collect()))
}

/// `-c name=value`, `-cname=value` and `--name=value`, as the server reads them.
fn settings_in(options: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next(),
            Some(setting) => Some(setting.to_owned()),
            None => word.strip_prefix("--").map(ToOwned::to_owned),
        };
        if let Some((name, value)) = setting.as_deref().and_then(|text| text.split_once('=')) {
            settings.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    settings
}

/// Words with spaces in between; after a backslash any character is part of a word.
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() {
            words.extend(word.take());
        } else {
            let literal = match character {
                '\\' => characters.next(),
                other => Some(other),
            };
            word.get_or_insert_default().extend(literal);
        }
    }
    words.extend(word);
    words
}

#[test]
fn settings_are_read_as_sqlx_writes_them() {
    let options = sea_orm::sqlx::postgres::PgConnectOptions::new();
    let settings = [("a.b", r"two words\ and 'quotes'"), ("c", "1")];
    let options = options.options(settings);
    let read = settings_in(options.get_options().expect("they are set"));
    let expected = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(read, expected);
    assert_eq!(
        settings_in("-ca=1 --b-c=2"),
        [("a".into(), "1".into()), ("b_c".into(), "2".into())]
    );
}
