//! Carries statements out, one after the other.

use std::collections::HashMap;

use super::{
    calls::{self, Arguments},
    statement::{Comparison, Execute, Expression, Function, Statement},
};
use crate::{
    AppLocks, Column, Kind, Mode, Part, ResultSet, ServerError, Session, SessionId, Value,
    locks::Resource,
};

/// What comes of the statements. One that fails does not keep the others from being carried out.
pub(crate) async fn run(
    locks: &AppLocks,
    session: &Session,
    parameters: &[Value],
    statements: &[Statement],
) -> Vec<Part> {
    let variables = parameters
        .iter()
        .enumerate()
        .map(|(index, value)| (format!("@p{}", index + 1), value.clone()))
        .collect();
    let mut run = Run {
        locks,
        session,
        variables,
        parts: Vec::new(),
    };
    for statement in statements {
        run.statement(statement).await;
    }
    run.parts
}

struct Run<'a> {
    locks: &'a AppLocks,
    session: &'a Session,
    variables: HashMap<String, Value>,
    parts: Vec<Part>,
}

impl Run<'_> {
    async fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Declare(names) => self
                .variables
                .extend(names.iter().map(|name| (name.clone(), Value::Null))),
            Statement::Execute(execute) => self.execute(execute).await,
            Statement::While(conditions, body) => self.repeat(conditions, body).await,
            Statement::Select(expressions) => self.select(expressions),
            Statement::Set => {}
            Statement::Kill(id) => self.kill(*id),
        }
    }

    async fn execute(&mut self, execute: &Execute) {
        let arguments: Arguments = execute
            .arguments
            .iter()
            .map(|(name, value)| (name.clone(), self.value(value)))
            .collect();
        let outcome = calls::call(execute.procedure, arguments, self.locks, self.session).await;
        self.parts.extend(outcome.error.map(Part::Error));
        if let (Some(variable), Some(status)) = (&execute.status, outcome.status) {
            self.variables.insert(variable.clone(), Value::Int(status));
        }
    }

    async fn repeat(&mut self, conditions: &[Comparison], body: &Statement) {
        while conditions.iter().all(|comparison| self.holds(comparison)) {
            Box::pin(self.statement(body)).await;
            // A loop without end is to hang its session only.
            tokio::task::yield_now().await;
        }
    }

    fn select(&mut self, expressions: &[Expression]) {
        let values: Vec<Value> = expressions
            .iter()
            .map(|expression| self.value(expression))
            .collect();
        let columns = expressions
            .iter()
            .zip(&values)
            .map(|(expression, value)| Column {
                name: String::new(),
                kind: kind(expression, value),
            });
        self.parts.push(Part::Rows(ResultSet {
            columns: columns.collect(),
            rows: vec![values],
        }));
    }

    /// Does not wait until the session is over, as KILL does not.
    fn kill(&mut self, id: SessionId) {
        let error = if id == self.session.id {
            Some(ServerError::new(
                6104,
                16,
                "Cannot use KILL to kill your own process.",
            ))
        } else if !self.session.sessions.kill(id) {
            Some(ServerError::new(
                6106,
                16,
                format!("Process ID {id} is not an active process ID."),
            ))
        } else {
            None
        };
        self.parts.extend(error.map(Part::Error));
    }

    /// A comparison with NULL does not hold, whatever it asks.
    fn holds(&self, comparison: &Comparison) -> bool {
        let (left, right) = (self.value(&comparison.left), self.value(&comparison.right));
        let are_equal = match (&left, &right) {
            (Value::Null, _) | (_, Value::Null) => return false,
            (Value::Text(left), Value::Text(right)) => left == right,
            (left, right) => left.number().is_some() && left.number() == right.number(),
        };
        are_equal == comparison.is_equal
    }

    fn value(&self, expression: &Expression) -> Value {
        match expression {
            Expression::Literal(value) => value.clone(),
            Expression::Variable(name) => self
                .variables
                .get(name)
                .expect("BUG: parse() lets known variables through only")
                .clone(),
            Expression::Spid => Value::SmallInt(self.session.id.0),
            Expression::Call(function, arguments) => {
                let arguments: Vec<Value> = arguments
                    .iter()
                    .map(|argument| self.value(argument))
                    .collect();
                self.function(*function, &arguments)
            }
        }
    }

    fn function(&self, function: Function, arguments: &[Value]) -> Value {
        match (function, arguments) {
            (Function::DbName, _) => self.session.login.database.as_str().into(),
            (Function::AppName, _) => self.session.login.application.as_str().into(),
            (Function::DatabasePropertyEx, [database, property]) => {
                self.property(database, property)
            }
            (Function::AppLockMode, [_, name, owner]) => self.mode(name, owner),
            (Function::AppLockTest, [_, name, mode, _]) => self.test(name, mode),
            // What the server has no such property for.
            (Function::ServerProperty, _) => Value::Null,
            _ => unreachable!("BUG: parse() counts the arguments"),
        }
    }

    fn property(&self, database: &Value, property: &Value) -> Value {
        let is_known = property
            .text()
            .is_some_and(|property| property.eq_ignore_ascii_case("Updateability"));
        match (
            database.text() == Some(&self.session.login.database),
            is_known,
        ) {
            (true, true) => Value::from(if self.locks.is_read_only() {
                "READ_ONLY"
            } else {
                "READ_WRITE"
            }),
            _ => Value::Null,
        }
    }

    fn mode(&self, name: &Value, owner: &Value) -> Value {
        let is_session = owner
            .text()
            .is_some_and(|owner| owner.eq_ignore_ascii_case("Session"));
        let held = self
            .resource(name)
            .filter(|_| is_session)
            .and_then(|resource| self.locks.procedures().mode(self.session.id, &resource));
        held.map_or("NoLock", Mode::name).into()
    }

    fn test(&self, name: &Value, mode: &Value) -> Value {
        match (self.resource(name), mode.text().and_then(Mode::parse)) {
            (Some(resource), Some(mode)) => Value::SmallInt(
                self.locks
                    .procedures()
                    .test(self.session.id, &resource, mode)
                    .into(),
            ),
            _ => Value::Null,
        }
    }

    fn resource(&self, name: &Value) -> Option<Resource> {
        name.text()
            .map(|name| Resource::new(&self.session.login.database, name))
    }
}

/// The type that a NULL has as well.
fn kind(expression: &Expression, value: &Value) -> Kind {
    match expression {
        Expression::Call(Function::AppLockTest, _) | Expression::Spid => Kind::SmallInt,
        Expression::Call(..) => Kind::Text,
        Expression::Literal(_) | Expression::Variable(_) => value.kind(),
    }
}
