//! What the procedures make of their arguments.

use std::time::Duration;

use super::statement::Procedure;
use crate::{AppLocks, Mode, ServerError, Session, Value, locks::Resource};

/// What a procedure returns when its arguments do not fit, or a lock is released that is not held.
const INVALID: i32 = -999;

/// Names in lower case, and values.
pub(super) type Arguments = Vec<(String, Value)>;

/// What came of a call.
pub(super) struct Outcome {
    /// What the procedure returned; none if it was not even called.
    pub(super) status: Option<i32>,
    pub(super) error: Option<ServerError>,
}

impl From<i32> for Outcome {
    fn from(status: i32) -> Self {
        Self {
            status: Some(status),
            error: None,
        }
    }
}

impl Outcome {
    fn invalid(error: ServerError) -> Self {
        Self {
            status: Some(INVALID),
            error: Some(error),
        }
    }

    fn not_called(error: ServerError) -> Self {
        Self {
            status: None,
            error: Some(error),
        }
    }
}

pub(super) async fn call(
    procedure: Procedure,
    arguments: Arguments,
    locks: &AppLocks,
    session: &Session,
) -> Outcome {
    match procedure {
        Procedure::GetAppLock => get(arguments, locks, session).await,
        Procedure::ReleaseAppLock => release(arguments, locks, session),
    }
}

async fn get(mut arguments: Arguments, locks: &AppLocks, session: &Session) -> Outcome {
    const NAME: &str = "sp_getapplock";
    let [resource, mode, owner, limit, principal] = [
        "@resource",
        "@lockmode",
        "@lockowner",
        "@locktimeout",
        "@dbprincipal",
    ]
    .map(|name| take(&mut arguments, name));
    let Some(mode) = mode else {
        return Outcome::not_called(missing(NAME, "@LockMode"));
    };
    if let Some((unknown, _)) = arguments.first() {
        return Outcome::not_called(not_a_parameter(NAME, unknown));
    }
    let asked = (|| {
        let resource = to_resource(NAME, resource, session)?;
        let mode = mode
            .text()
            .and_then(Mode::parse)
            .ok_or_else(|| invalid(1225, "mode", NAME))?;
        check_owner(NAME, owner)?;
        check_principal(NAME, principal)?;
        Ok((resource, mode, to_limit(NAME, limit)?))
    })();
    match asked {
        Ok((resource, mode, limit)) => locks
            .procedures()
            .get(session.id, &resource, mode, limit)
            .await
            .into(),
        Err(error) => Outcome::invalid(error),
    }
}

fn release(mut arguments: Arguments, locks: &AppLocks, session: &Session) -> Outcome {
    const NAME: &str = "sp_releaseapplock";
    let [resource, owner, principal] =
        ["@resource", "@lockowner", "@dbprincipal"].map(|name| take(&mut arguments, name));
    if let Some((unknown, _)) = arguments.first() {
        return Outcome::not_called(not_a_parameter(NAME, unknown));
    }
    let asked = to_resource(NAME, resource, session).and_then(|resource| {
        check_owner(NAME, owner)?;
        check_principal(NAME, principal)?;
        Ok(resource)
    });
    match asked {
        Ok(resource) if locks.procedures().release(session.id, &resource) => 0.into(),
        Ok(resource) => Outcome::invalid(not_held(&resource)),
        Err(error) => Outcome::invalid(error),
    }
}

fn take(arguments: &mut Arguments, name: &str) -> Option<Value> {
    let at = arguments.iter().position(|(own, _)| own == name)?;
    Some(arguments.remove(at).1)
}

fn to_resource(
    procedure: &str,
    name: Option<Value>,
    session: &Session,
) -> Result<Resource, ServerError> {
    let name = name
        .as_ref()
        .and_then(Value::text)
        .ok_or_else(|| invalid(1224, "resource", procedure))?;
    Ok(Resource::new(&session.login.database, name))
}

/// `Transaction`, the default, needs one, and there are none here.
fn check_owner(procedure: &str, owner: Option<Value>) -> Result<(), ServerError> {
    match owner.as_ref().and_then(Value::text) {
        Some(owner) if owner.eq_ignore_ascii_case("Session") => Ok(()),
        _ => Err(invalid(1226, "owner", procedure)),
    }
}

fn check_principal(procedure: &str, principal: Option<Value>) -> Result<(), ServerError> {
    match principal {
        None => Ok(()),
        Some(Value::Text(name)) if name == "public" => Ok(()),
        Some(_) => Err(ServerError::new(
            1230,
            16,
            format!("An invalid database principal was passed to {procedure}."),
        )),
    }
}

/// None is for ever, as by default (`@@LOCK_TIMEOUT` is -1).
fn to_limit(procedure: &str, limit: Option<Value>) -> Result<Option<Duration>, ServerError> {
    match limit.unwrap_or(Value::Null) {
        Value::Null => Ok(None),
        limit => match limit.number() {
            Some(-1) => Ok(None),
            Some(milliseconds @ 0..=0x7FFF_FFFF) => {
                Ok(Some(Duration::from_millis(milliseconds as u64)))
            }
            _ => Err(invalid(1227, "time-out", procedure)),
        },
    }
}

fn invalid(number: i32, what: &str, procedure: &str) -> ServerError {
    ServerError::new(
        number,
        16,
        format!("An invalid application lock {what} was passed to {procedure}."),
    )
}

fn not_held(resource: &Resource) -> ServerError {
    let message = format!(
        "Cannot release the application lock (Database Principal: 'public', Resource: '{}') because it is not currently held.",
        resource.name()
    );
    ServerError::new(1223, 16, message)
}

fn missing(procedure: &str, parameter: &str) -> ServerError {
    let message = format!(
        "Procedure or function '{procedure}' expects parameter '{parameter}', which was not supplied."
    );
    ServerError {
        state: 4,
        ..ServerError::new(201, 16, message)
    }
}

fn not_a_parameter(procedure: &str, name: &str) -> ServerError {
    ServerError::new(
        8145,
        16,
        format!("{name} is not a parameter for procedure {procedure}."),
    )
}
