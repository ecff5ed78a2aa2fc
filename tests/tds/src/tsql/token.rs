//! What statements are written in.

use std::fmt;

use super::syntax_error;
use crate::ServerError;

/// The symbols, the longer first.
const SYMBOLS: [&str; 7] = ["<>", "=", "(", ")", ",", ";", "-"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword or a name
    Word(String),
    /// `@r0`, in lower case
    Variable(String),
    /// `@@SPID`
    Global(String),
    Number(i64),
    /// `'it''s'` or `N'it''s'`
    Text(String),
    Symbol(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Variable(text) | Self::Global(text) | Self::Text(text) => {
                f.write_str(text)
            }
            Self::Number(number) => number.fmt(f),
            Self::Symbol(symbol) => f.write_str(symbol),
            Self::End => f.write_str("the end"),
        }
    }
}

/// The tokens of a batch; whitespace is between them only.
pub(super) fn tokens(sql: &str) -> Result<Vec<Token>, ServerError> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '\'' => text(&rest[1..])?,
            'N' | 'n' if rest[1..].starts_with('\'') => text(&rest[2..])?,
            '@' => variable(rest),
            '0'..='9' => number(rest)?,
            _ if is_of_name(first) => name(rest, Token::Word),
            _ => symbol(rest)?,
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '@' | '#' | '$')
}

fn name(sql: &str, token: impl Fn(String) -> Token) -> (Token, &str) {
    let (name, rest) = sql.split_at(
        sql.find(|character| !is_of_name(character))
            .unwrap_or(sql.len()),
    );
    (token(name.to_owned()), rest)
}

fn variable(sql: &str) -> (Token, &str) {
    if sql.starts_with("@@") {
        name(sql, Token::Global)
    } else {
        name(sql, |name| Token::Variable(name.to_lowercase()))
    }
}

fn number(sql: &str) -> Result<(Token, &str), ServerError> {
    let (Token::Word(digits), rest) = name(sql, Token::Word) else {
        return Err(syntax_error(sql));
    };
    let number = digits.parse().map_err(|_| syntax_error(&digits))?;
    Ok((Token::Number(number), rest))
}

/// From behind the opening quote.
fn text(sql: &str) -> Result<(Token, &str), ServerError> {
    let mut text = String::new();
    let mut rest = sql;
    loop {
        let (part, after) = rest.split_once('\'').ok_or_else(|| {
            ServerError::new(
                105,
                15,
                format!("Unclosed quotation mark after the character string '{sql}'."),
            )
        })?;
        text.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                text.push('\'');
                rest = more;
            }
            None => return Ok((Token::Text(text), after)),
        }
    }
}

fn symbol(sql: &str) -> Result<(Token, &str), ServerError> {
    let found = SYMBOLS.iter().find_map(|symbol| {
        sql.strip_prefix(symbol)
            .map(|rest| (Token::Symbol(symbol), rest))
    });
    found.ok_or_else(|| syntax_error(sql.chars().next().unwrap_or_default()))
}
