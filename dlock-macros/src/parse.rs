//! The text between the brackets → arguments, each at most once, each of the right form. Knows nothing of the function.

use std::time::Duration;

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Path, Result, Token};

const ARGUMENTS: &str =
    "`key`, `db`, `timeout`, `nowait`, `shared`, `xact`, `pinned`, `on_error`, `busy`, `crate`";

/// What a lock is named by.
pub(crate) enum Key {
    /// A format string.
    Format(LitStr),
    /// Anything that is `Into<Key>`.
    Into(Expr),
}

/// How long a lock is waited for.
pub(crate) enum Timeout {
    Literal(Duration),
    Expr(Expr),
}

#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) key: Option<Key>,
    pub(crate) db: Option<Expr>,
    pub(crate) timeout: Option<(Ident, Timeout)>,
    pub(crate) nowait: Option<Ident>,
    pub(crate) shared: Option<Ident>,
    pub(crate) xact: Option<Ident>,
    pub(crate) pinned: Option<Ident>,
    pub(crate) on_error: Option<Expr>,
    pub(crate) busy: Option<Expr>,
    pub(crate) dlock: Option<Path>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut arguments = Self::default();
        while !input.is_empty() {
            arguments.parse_one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    fn parse_one(&mut self, input: ParseStream) -> Result<()> {
        if !input.peek(Ident::peek_any) {
            let message = format!(
                "expected an argument such as `key = \"invoice/{{id}}\"`; there are {ARGUMENTS}"
            );
            return Err(input.error(message));
        }
        let name = input.call(Ident::parse_any)?;
        match name.to_string().as_str() {
            "key" => once(&mut self.key, &name, || key(value(&name, input)?)),
            "db" => once(&mut self.db, &name, || value(&name, input)),
            "timeout" => once(&mut self.timeout, &name, || {
                Ok((name.clone(), timeout(value(&name, input)?)?))
            }),
            "nowait" => once(&mut self.nowait, &name, || flag(&name, input)),
            "shared" => once(&mut self.shared, &name, || flag(&name, input)),
            "xact" => once(&mut self.xact, &name, || flag(&name, input)),
            "pinned" => once(&mut self.pinned, &name, || flag(&name, input)),
            "on_error" => once(&mut self.on_error, &name, || value(&name, input)),
            "busy" => once(&mut self.busy, &name, || value(&name, input)),
            "crate" => once(&mut self.dlock, &name, || {
                equals(&name, input)?;
                let path = input.fork().call(Path::parse_mod_style);
                path.map_err(|_| input.error("expected a path: `crate = my_dlock`"))?;
                input.call(Path::parse_mod_style)
            }),
            _ => {
                let message = format!("unknown argument `{name}`: there are {ARGUMENTS}");
                Err(Error::new(name.span(), message))
            }
        }
    }
}

fn once<T>(place: &mut Option<T>, name: &Ident, parse: impl FnOnce() -> Result<T>) -> Result<()> {
    if place.is_some() {
        let message = format!("`{name}` is given twice: leave one of them out");
        return Err(Error::new(name.span(), message));
    }
    *place = Some(parse()?);
    Ok(())
}

fn flag(name: &Ident, input: ParseStream) -> Result<Ident> {
    if input.peek(Token![=]) {
        let message = format!("`{name}` takes no value: write `{name}` alone, or leave it out");
        return Err(Error::new(name.span(), message));
    }
    Ok(name.clone())
}

fn equals(name: &Ident, input: ParseStream) -> Result<()> {
    if !input.peek(Token![=]) {
        let example = match name.to_string().as_str() {
            "key" => "\"invoice/{id}\"",
            "db" => "self.db",
            "timeout" => "\"5s\"",
            "on_error" => "|error| ..",
            "crate" => "my_dlock",
            _ => "..",
        };
        let message = format!("`{name}` needs a value: `{name} = {example}`");
        return Err(Error::new(name.span(), message));
    }
    input.parse::<Token![=]>().map(drop)
}

fn value(name: &Ident, input: ParseStream) -> Result<Expr> {
    equals(name, input)?;
    input.parse().map(without_group)
}

/// What `macro_rules!` puts in the place of a `$fragment` is in a group that nobody sees.
fn without_group(value: Expr) -> Expr {
    match value {
        Expr::Group(group) => without_group(*group.expr),
        value => value,
    }
}

fn key(value: Expr) -> Result<Key> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => {
            if text.value().is_empty() {
                return Err(Error::new(text.span(), "the key is empty: name the lock"));
            }
            names_only(&text)?;
            Ok(Key::Format(text))
        }
        value => Ok(Key::Into(value)),
    }
}

/// A format string takes names in its braces, and rustc's advice for anything else is to add an
/// argument, which a key does not have.
fn names_only(text: &LitStr) -> Result<()> {
    let (mut rewritten, mut expressions) = (String::new(), Vec::new());
    let literal = text.value();
    let mut rest = literal.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        let (before, braces) = rest.split_at(at);
        rewritten += before;
        let is_escaped = braces.starts_with("{{") || braces.starts_with("}}");
        let end = braces.find('}').filter(|end| *end > 0 && !is_escaped);
        let Some(end) = end else {
            // Escaped, or one that rustc explains.
            let length = if is_escaped { 2 } else { 1 };
            rewritten += &braces[..length];
            rest = &braces[length..];
            continue;
        };
        let (value, format) = split_format(&braces[1..end]);
        match is_expression(value) {
            true => {
                rewritten += &format!("{{{format}}}");
                expressions.push(value.trim());
            }
            false => rewritten += &braces[..=end],
        }
        rest = &braces[end + 1..];
    }
    let Some(first) = expressions.first() else {
        return Ok(());
    };
    let message = format!(
        "the braces of a key take the name of a variable, and `{first}` is an expression: write \
         `key = format!({:?}, {})`",
        rewritten + rest,
        expressions.join(", ")
    );
    Err(Error::new(text.span(), message))
}

/// What stands in braces, and its format from the colon on; `::` belongs to a path.
fn split_format(inside: &str) -> (&str, &str) {
    let mut colons = inside
        .char_indices()
        .filter(|(_, character)| *character == ':');
    while let Some((at, _)) = colons.next() {
        match inside[at + 1..].starts_with(':') {
            true => drop(colons.next()),
            false => return inside.split_at(at),
        }
    }
    (inside, "")
}

/// Names and numbers are what a format string takes.
fn is_expression(value: &str) -> bool {
    let is_name = Ident::parse_any.parse_str(value.trim()).is_ok();
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    !is_name && !is_number && syn::parse_str::<Expr>(value).is_ok()
}

fn timeout(value: Expr) -> Result<Timeout> {
    let Expr::Lit(ExprLit { lit, .. }) = &value else {
        return Ok(Timeout::Expr(value));
    };
    let Lit::Str(text) = lit else {
        let message = "a timeout needs its unit: write \"500ms\", \"5s\", \"1m30s\", or an expression of type `Duration`";
        return Err(Error::new(value.span(), message));
    };
    let duration = humantime::parse_duration(&text.value()).map_err(|error| {
        let message = format!(
            "\"{}\" is no duration ({error}): write \"500ms\", \"5s\", \"1m30s\", or an expression of type `Duration`",
            text.value()
        );
        Error::new(text.span(), message)
    })?;
    Ok(Timeout::Literal(duration))
}
