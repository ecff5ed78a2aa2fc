//! From text to statements: the whole batch, before any of it is carried out.

use std::collections::HashSet;

use super::{
    statement::{Comparison, Execute, Expression, Function, Procedure, Statement},
    syntax_error,
    token::{Token, tokens},
};
use crate::{ServerError, SessionId, Value};

/// The settings that change nothing for locks.
const SETTINGS: [&[&str]; 3] = [
    &["NOCOUNT", "ON"],
    &["XACT_ABORT", "OFF"],
    &["LOCK_TIMEOUT", "-", "1"],
];

type Parsed<T> = Result<T, ServerError>;

/// The statements of a batch that has so many parameters.
pub(crate) fn parse(sql: &str, parameters: usize) -> Parsed<Vec<Statement>> {
    let declared = (1..=parameters)
        .map(|number| format!("@p{number}"))
        .collect();
    let mut parser = Parser {
        tokens: tokens(sql)?.into_iter().peekable(),
        declared,
    };
    parser.statements()
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    declared: HashSet<String>,
}

impl Parser {
    fn statements(&mut self) -> Parsed<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            while self.eat(";") {}
            if self.tokens.peek().is_none() {
                return Ok(statements);
            }
            statements.push(self.statement()?);
            if self.tokens.peek().is_some() {
                self.expect(";")?;
            }
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let token = self.next();
        let Token::Word(word) = &token else {
            return Err(syntax_error(token));
        };
        match word.to_uppercase().as_str() {
            "DECLARE" => self.declare(),
            "EXEC" | "EXECUTE" => self.execute(),
            "WHILE" => self.repeat(),
            "SELECT" => Ok(Statement::Select(self.list(Self::expression)?)),
            "SET" => self.set(),
            "KILL" => self.kill(),
            _ => Err(syntax_error(word)),
        }
    }

    fn declare(&mut self) -> Parsed<Statement> {
        let names = self.list(|parser| {
            let name = parser.name_of_variable()?;
            parser.expect("int")?;
            match parser.declared.insert(name.clone()) {
                true => Ok(name),
                false => Err(ServerError::new(
                    134,
                    15,
                    format!("The variable name '{name}' has already been declared."),
                )),
            }
        })?;
        Ok(Statement::Declare(names))
    }

    fn execute(&mut self) -> Parsed<Statement> {
        let status = match self.tokens.peek() {
            Some(Token::Variable(_)) => Some(self.variable()?),
            _ => None,
        };
        if status.is_some() {
            self.expect("=")?;
        }
        let name = self.next();
        let procedure = Procedure::ALL
            .into_iter()
            .find(|procedure| is(&name, procedure.name()))
            .ok_or_else(|| unknown_procedure(&name))?;
        let arguments = self.list(Self::argument)?;
        Ok(Statement::Execute(Execute {
            status,
            procedure,
            arguments,
        }))
    }

    fn argument(&mut self) -> Parsed<(String, Expression)> {
        let name = self.name_of_variable()?;
        self.expect("=")?;
        let at = self.tokens.peek().cloned();
        match self.expression()? {
            value @ (Expression::Literal(_) | Expression::Variable(_)) => Ok((name, value)),
            _ => Err(syntax_error(at.unwrap_or(Token::End))),
        }
    }

    fn repeat(&mut self) -> Parsed<Statement> {
        let mut conditions = vec![self.comparison()?];
        while self.eat("AND") {
            conditions.push(self.comparison()?);
        }
        Ok(Statement::While(conditions, Box::new(self.statement()?)))
    }

    fn comparison(&mut self) -> Parsed<Comparison> {
        let left = self.expression()?;
        let is_equal = !self.eat("<>");
        if is_equal {
            self.expect("=")?;
        }
        Ok(Comparison {
            left,
            is_equal,
            right: self.expression()?,
        })
    }

    fn set(&mut self) -> Parsed<Statement> {
        let first = self.next();
        let setting = SETTINGS
            .into_iter()
            .find(|setting| is(&first, setting[0]))
            .ok_or_else(|| syntax_error(&first))?;
        for word in &setting[1..] {
            self.expect(word)?;
        }
        Ok(Statement::Set)
    }

    fn kill(&mut self) -> Parsed<Statement> {
        match self.next() {
            Token::Number(number) => {
                let id = i16::try_from(number).map_err(|_| {
                    ServerError::new(6101, 16, format!("Session ID {number} is not valid."))
                })?;
                Ok(Statement::Kill(SessionId(id)))
            }
            other => Err(syntax_error(other)),
        }
    }

    fn expression(&mut self) -> Parsed<Expression> {
        match self.next() {
            Token::Number(number) => literal(number),
            Token::Symbol("-") => match self.next() {
                Token::Number(number) => literal(-number),
                other => Err(syntax_error(other)),
            },
            Token::Text(text) => Ok(Expression::Literal(Value::Text(text))),
            Token::Variable(name) => self.known(name).map(Expression::Variable),
            Token::Global(name) if name.eq_ignore_ascii_case("@@SPID") => Ok(Expression::Spid),
            Token::Word(word) if word.eq_ignore_ascii_case("NULL") => {
                Ok(Expression::Literal(Value::Null))
            }
            Token::Word(word) if word.eq_ignore_ascii_case("CONVERT") => self.convert(),
            Token::Word(word) => self.call(&word),
            other => Err(syntax_error(other)),
        }
    }

    fn call(&mut self, name: &str) -> Parsed<Expression> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !self.eat(")") {
            arguments = self.list(Self::expression)?;
            self.expect(")")?;
        }
        let function =
            Function::find(name, arguments.len()).ok_or_else(|| unknown_function(name))?;
        Ok(Expression::Call(function, arguments))
    }

    /// To `nvarchar(n)` of what is text anyway, and to `int` of what is a number anyway.
    fn convert(&mut self) -> Parsed<Expression> {
        self.expect("(")?;
        if self.eat("int") {
            self.expect(",")?;
            let value = self.expression()?;
            self.expect(")")?;
            return match value {
                Expression::Call(Function::AppLockTest | Function::ServerProperty, _)
                | Expression::Spid => Ok(value),
                _ => Err(syntax_error("CONVERT")),
            };
        }
        self.expect("nvarchar")?;
        self.expect("(")?;
        let length = self.next();
        if !matches!(length, Token::Number(1..=4000)) {
            return Err(syntax_error(length));
        }
        self.expect(")")?;
        self.expect(",")?;
        let value = self.expression()?;
        self.expect(")")?;
        match value {
            Expression::Call(Function::AppLockTest | Function::ServerProperty, _)
            | Expression::Spid
            | Expression::Variable(_) => Err(syntax_error("CONVERT")),
            text => Ok(text),
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn variable(&mut self) -> Parsed<String> {
        let name = self.name_of_variable()?;
        self.known(name)
    }

    fn name_of_variable(&mut self) -> Parsed<String> {
        match self.next() {
            Token::Variable(name) => Ok(name),
            other => Err(syntax_error(other)),
        }
    }

    fn known(&self, name: String) -> Parsed<String> {
        if self.declared.contains(&name) {
            Ok(name)
        } else {
            Err(ServerError {
                state: 2,
                ..ServerError::new(
                    137,
                    15,
                    format!("Must declare the scalar variable \"{name}\"."),
                )
            })
        }
    }

    fn next(&mut self) -> Token {
        self.tokens.next().unwrap_or(Token::End)
    }

    fn eat(&mut self, expected: &str) -> bool {
        self.tokens.next_if(|token| is(token, expected)).is_some()
    }

    fn expect(&mut self, expected: &str) -> Parsed<()> {
        let token = self.next();
        if is(&token, expected) {
            Ok(())
        } else {
            Err(syntax_error(token))
        }
    }
}

/// Whether it is this keyword, number or symbol.
fn is(token: &Token, expected: &str) -> bool {
    match token {
        Token::Word(word) => word.eq_ignore_ascii_case(expected),
        Token::Symbol(symbol) => *symbol == expected,
        Token::Number(number) => number.to_string() == expected,
        _ => false,
    }
}

fn literal(number: i64) -> Parsed<Expression> {
    Ok(Expression::Literal(
        i32::try_from(number).map_or(Value::BigInt(number), Value::Int),
    ))
}

fn unknown_procedure(name: &Token) -> ServerError {
    match name {
        Token::Word(name) => ServerError {
            state: 62,
            ..ServerError::new(
                2812,
                16,
                format!("Could not find stored procedure '{name}'."),
            )
        },
        other => syntax_error(other),
    }
}

fn unknown_function(name: &str) -> ServerError {
    ServerError {
        state: 10,
        ..ServerError::new(
            195,
            15,
            format!("'{name}' is not a recognized built-in function name."),
        )
    }
}
