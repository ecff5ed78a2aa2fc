#!/bin/bash
# MySQL Router in front of a MySQL group: one port for reads and writes, where each statement goes
# to the primary or to a secondary.  mysql_router.sh start|stop|status|url|wipe
#
#   BACKENDS="mysql://.. mysql://.."  the members of the group; without it mysql_group.sh starts it
#   PORT=61871                        its port
#
# From Debian sid, like mysql.sh. MySQL Shell, which would prepare the group for it, is not in
# Debian: `describe_group` does as much of it as the Router reads.
NAME=mysql_router
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
FOLDER=$RUN/$NAME
PORT=${PORT:-$(port 61871)}
ACCOUNT=$(account mysql)
TREE=$CACHE/sid-mysql-router/root/usr

if [ -z "${BACKENDS:-}" ]; then
  BACKENDS=$("$HERE/mysql_group.sh" url)
  OWN_GROUP=1
fi
read -rd '' -a BACKENDS <<<"$BACKENDS" || true

# sets RUN_IN_TREE
fetch() {
  local loader libraries
  apt_tree "$CACHE/sid-mysql-router" sid mysql-router
  loader=$(find "$TREE/lib" -name 'ld-linux-*.so.*' -type f | head -n 1)
  libraries=$(find "$TREE/lib" -name 'libmysqlrouter_routing.so*' -printf '%h\n' | head -n 1)
  RUN_IN_TREE=("$loader" --library-path "$(dirname "$loader"):$libraries")
}

# address URL: its host:port
address() {
  local pattern='^mysql://[^@/]*@([^:/?]+:[0-9]+)/'
  [[ $1 =~ $pattern ]] || die "not of the form mysql://user@host:port/database: $1"
  echo "${BASH_REMATCH[1]}"
}

# query URL STATEMENT
query() {
  local host_port
  host_port=$(address "$1")
  timeout 20 mariadb --no-defaults -h"${host_port%:*}" -P"${host_port#*:}" -udlock -Ne "$2"
}

# the first backend that takes writes
primary() {
  local backend
  for backend in "${BACKENDS[@]}"; do
    if [ "$(query "$backend" 'SELECT @@super_read_only')" = 0 ]; then
      echo "$backend"
      return
    fi
  done
  die "no member of the group takes writes"
}

# describe_group URL: the tables in which the Router looks for the members, as views of what the
# group knows itself
describe_group() {
  query "$1" "CREATE DATABASE IF NOT EXISTS mysql_innodb_cluster_metadata;
    USE mysql_innodb_cluster_metadata;
    CREATE OR REPLACE SQL SECURITY INVOKER VIEW schema_version (major, minor, patch) AS
      SELECT 2, 0, 0;
    CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_this_instance AS
      SELECT 'dlock' AS cluster_id, 'dlock' AS cluster_name, 'gr' AS cluster_type;
    CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_gr_clusters AS
      SELECT 'dlock' AS cluster_id, 'dlock' AS cluster_name, VARIABLE_VALUE AS group_name
        FROM performance_schema.global_variables
        WHERE VARIABLE_NAME = 'group_replication_group_name';
    CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_instances AS
      SELECT 'dlock' AS cluster_id, MEMBER_ID AS mysql_server_uuid,
          CONCAT(MEMBER_HOST, ':', MEMBER_PORT) AS endpoint, '' AS xendpoint,
          '{}' AS attributes, '' AS label
        FROM performance_schema.replication_group_members;
    CREATE TABLE IF NOT EXISTS v2_routers (router_id INT PRIMARY KEY, router_name TEXT,
      address TEXT, version TEXT, last_check_in DATETIME, attributes JSON, options JSON)"
}

# state URL: what the Router would have written down about the group
state() {
  local backend servers=()
  for backend in "${BACKENDS[@]}"; do
    servers+=("\"mysql://$(address "$backend")\"")
  done
  cat <<STATE
{
  "version": "1.0.0",
  "metadata-cache": {
    "group-replication-id": "$(query "$1" 'SELECT @@group_replication_group_name')",
    "cluster-metadata-servers": [$(IFS=, && echo "${servers[*]}")]
  }
}
STATE
}

config() {
  cat <<CONFIG
# ${BACKENDS[*]}
[DEFAULT]
plugin_folder=$TREE/lib/mysqlrouter/plugin
logging_folder=$FOLDER
runtime_folder=$FOLDER
data_folder=$FOLDER
keyring_path=$FOLDER/keyring
master_key_path=$FOLDER/master_key
dynamic_state=$FOLDER/state.json
[logger]
level=INFO
filename=log
[metadata_cache:group]
cluster_type=gr
metadata_cluster=dlock
user=dlock
ttl=0.5
ssl_mode=DISABLED
[routing:split]
bind_address=127.0.0.1
bind_port=$PORT
destinations=metadata-cache://group/?role=PRIMARY_AND_SECONDARY
routing_strategy=round-robin
protocol=classic
access_mode=auto
connection_sharing=1
client_ssl_mode=DISABLED
server_ssl_mode=DISABLED
max_connect_errors=4294967295
CONFIG
}

# with other settings than these it counts as down
up() { alive "$FOLDER/pid" && answers "$PORT" && config | cmp -s - "$FOLDER/config"; }

# for the Router's own account: no password
create_keyring() {
  rm -f "$FOLDER/keyring" "$FOLDER/master_key"
  keyring init "$FOLDER/keyring"
  keyring set "$FOLDER/keyring" dlock password ''
}

# keyring COMMAND ARGUMENT...
keyring() {
  as "$ACCOUNT" "${RUN_IN_TREE[@]}" "$TREE/bin/mysqlrouter_keyring" "$1" \
    --master-key-file="$FOLDER/master_key" "${@:2}"
}

# The pid is there at once, so that a start that is interrupted can be stopped.
launch() {
  become "$ACCOUNT" "${RUN_IN_TREE[@]}" "$TREE/bin/mysqlrouter" --config="$FOLDER/config" \
    >"$FOLDER/output" 2>&1 </dev/null &
  echo $! >"$FOLDER/pid"
}

answers_queries() { query "$(url)" 'SELECT 1'; }

start() {
  if [ -n "${OWN_GROUP:-}" ]; then
    "$HERE/mysql_group.sh" start
  fi
  if up; then
    say "already up on port $PORT"
    return
  fi
  fetch
  need mariadb mariadb-client-core
  local primary
  primary=$(primary)
  describe_group "$primary"
  stop_pid "$FOLDER/pid" TERM 20
  require_free "$PORT"
  mkdir -p "$FOLDER"
  config >"$FOLDER/config"
  state "$primary" >"$FOLDER/state.json"
  own "$ACCOUNT" "$FOLDER"
  create_keyring
  launch
  if ! wait_for 20 answers_queries; then
    stop_pid "$FOLDER/pid" TERM 20
    die_with "$FOLDER/log" "start failed"
  fi
  say "up: $(url), in front of ${BACKENDS[*]}"
}

stop() {
  stop_pid "$FOLDER/pid" TERM 20
  say "stopped (its group was left as it is)"
}

url() { echo "mysql://dlock@127.0.0.1:$PORT/dlock"; }

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) up ;;
  url) url ;;
  wipe)
    stop
    rm -rf "$FOLDER"
    ;;
  *) die "start|stop|status|url|wipe" ;;
esac
