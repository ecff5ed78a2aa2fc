//! What the variables of a server show: whether its locks exclude every session, and which server
//! it is.

use std::collections::HashMap;

use super::identity::ServerName;
use super::keys::PLAIN_SERVER;
use super::statements;
use crate::backend::shared::one_server::Server;
use crate::error::Error;

/// Variables by which a server shows that its locks exclude nobody elsewhere; those that a server
/// lacks do not count.
/// <https://galeracluster.com/library/documentation/mysql-wsrep-options.html#wsrep-on>,
/// <https://dev.mysql.com/doc/refman/8.4/en/group-replication-limitations.html>
pub(super) static REFUSED_WHERE: [(&str, bool, Error); 4] = [
    ("wsrep_on", true, GALERA),
    (statements::READ_ONLY, true, REPLICA),
    ("innodb_read_only", true, REPLICA),
    (
        "group_replication_single_primary_mode",
        false,
        SEVERAL_PRIMARIES,
    ),
];

pub(super) const VERSION: &str = "version";

/// Empty on a server that has the plugin and no group.
pub(super) const GROUP_NAME: &str = "group_replication_group_name";

/// Whether the server is configured for a replication group.
pub(super) fn is_in_group(variables: &HashMap<String, String>) -> bool {
    let name = variables.get(GROUP_NAME);
    name.is_some_and(|name| !name.is_empty())
}

/// Variables that tell a server from others where it has no name of its own.
pub(super) const ADDRESS: [&str; 3] = ["hostname", "port", "server_id"];

const GALERA: Error = Error::refused(
    "a node of a Galera cluster, whose `GET_LOCK` excludes no session of the other nodes",
    PLAIN_SERVER,
    "use a server that is not part of a cluster for locks",
);

const SEVERAL_PRIMARIES: Error = Error::refused(
    "a MySQL group with several primaries, whose `GET_LOCK` excludes no session of the other members",
    "a group with a single primary",
    "use a group with a single primary for locks",
);

const REPLICA: Error = Error::refused(
    "a read-only MySQL or MariaDB server, like a replica",
    "the primary",
    "connect to the primary: locks of a replica exclude no session of the primary",
);

pub(super) fn server_name(variables: &HashMap<String, String>) -> Option<ServerName> {
    let mut known = ServerName::VARIABLES.into_iter();
    known.find_map(|variable| {
        let value = variables.get(variable)?.clone();
        Some(ServerName { variable, value })
    })
}

pub(super) fn server(name: Option<&ServerName>, variables: &HashMap<String, String>) -> Server {
    let address = ADDRESS.map(|variable| variables.get(variable).map_or("", String::as_str));
    let [host, port, id] = address;
    let label = format!("the server {host}:{port} with server_id {id}");
    match name {
        Some(name) => Server::new(&*name.value, label),
        None => Server::new(&*label, &*label),
    }
}
