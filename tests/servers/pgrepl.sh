#!/bin/bash
# A PostgreSQL primary (port 61442) and its streaming replica (61443).
#
#   pgrepl.sh start|stop|status|url|wipe   url prints both nodes
#   pgrepl.sh primary                      the URL of the primary
#   pgrepl.sh standby                      the URL of the replica
#   pgrepl.sh crash                        the primary dies without a last word to the replica
#   pgrepl.sh promote                      the replica becomes a primary
#   pgrepl.sh rejoin                       the other node comes back as the replica, from a fresh copy
#
#   SYNC=1              synchronous replication
#   PORT1=.. PORT2=..   other ports
NAME=pgrepl
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
FOLDER=$RUN/$NAME
PORTS=(0 "${PORT1:-$(port 61442)}" "${PORT2:-$(port 61443)}")

node_url() { echo "postgres://postgres@127.0.0.1:${PORTS[$1]}/postgres"; }

pid_file() { echo "$FOLDER/$1/postmaster.pid"; }

query() { psql -X "$(node_url "$1")" -Atc "$2"; }

# node_with t|f: the node that is in recovery (a replica), or is not
node_with() {
  local node
  for node in 1 2; do
    if [ "$(query $node 'select pg_is_in_recovery()' 2>/dev/null)" = "$1" ]; then
      echo $node
      return
    fi
  done
  return 1
}

streaming() { [ "$(query "$1" 'select count(*) from pg_stat_replication')" -ge 1 ]; }

# The npm packages have no pg_basebackup: always Debian's version. Sets BIN and USER_.
prepare() {
  BIN=${PGBIN:-$(env -u PGVER "$HERE/pg.sh" bin)}
  need psql postgresql-client
  USER_=$(account postgres)
}

create_primary() {
  say "creating $FOLDER/1"
  as "$USER_" "$BIN/initdb" -D "$FOLDER/1" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$FOLDER/initdb.log" 2>&1 ||
    die_with "$FOLDER/initdb.log" "initdb failed"
  echo "host replication all 127.0.0.1/32 trust" >>"$FOLDER/1/pg_hba.conf"
}

# clone FROM TO
clone() {
  say "copying node $1 to node $2"
  as "$USER_" "$BIN/pg_basebackup" -h 127.0.0.1 -p "${PORTS[$1]}" -U postgres -D "$FOLDER/$2" -R -X stream -c fast ||
    die "pg_basebackup failed"
}

launch() {
  local node=$1 settings
  if alive "$(pid_file "$node")"; then
    return
  fi
  require_free "${PORTS[$node]}"
  settings="-p ${PORTS[$node]} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
  settings+=" -c wal_level=replica -c hot_standby=on -c max_wal_senders=8 -c wal_keep_size=64MB -c wal_log_hints=on"
  # Pgpool-II keeps many
  settings+=" -c max_connections=400"
  # the other node may be on another port than when this one was copied
  settings+=" -c primary_conninfo=postgres://postgres@127.0.0.1:${PORTS[$((3 - node))]}"
  settings+=" -c cluster_name=node$node ${SYNC:+-c synchronous_standby_names=*}"
  as "$USER_" "$BIN/pg_ctl" -D "$FOLDER/$node" -l "$FOLDER/log$node" -w -t 60 -o "$settings" start >/dev/null ||
    die_with "$FOLDER/log$node" "node $node did not start; '$0 wipe' gives it fresh data"
}

up() {
  alive "$(pid_file 1)" && alive "$(pid_file 2)" && node_with f >/dev/null && node_with t >/dev/null
}

start() {
  if up; then
    say "already up"
    return
  fi
  prepare
  mkdir -p "$FOLDER"
  own "$USER_" "$FOLDER"
  [ -s "$FOLDER/1/PG_VERSION" ] || create_primary
  local primary=1 replica=2
  if [ -e "$FOLDER/1/standby.signal" ]; then
    primary=2
    replica=1
  fi
  launch $primary
  [ -s "$FOLDER/$replica/PG_VERSION" ] || clone $primary $replica
  launch $replica
  wait_for 30 streaming $primary || die_with "$FOLDER/log$replica" "the replica does not stream"
  say "up: primary $(node_url $primary), replica $(node_url $replica)"
}

stop() {
  stop_pid "$(pid_file 2)" INT 30
  stop_pid "$(pid_file 1)" INT 30
  say stopped
}

crash() {
  local node
  node=$(node_with f) || die "no primary"
  stop_pid "$(pid_file "$node")" QUIT 20
  say "node $node crashed"
}

promote() {
  local node
  node=$(node_with t) || die "no replica"
  query "$node" 'select pg_promote()' >/dev/null
  say "node $node is a primary: $(node_url "$node")"
}

rejoin() {
  local primary other
  prepare
  primary=$(node_with f) || die "no primary"
  other=$((3 - primary))
  stop_pid "$(pid_file $other)" QUIT 20
  rm -rf "${FOLDER:?}/$other"
  clone "$primary" $other
  launch $other
  wait_for 30 streaming "$primary" || die_with "$FOLDER/log$other" "the replica does not stream"
  say "node $other is the replica"
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) up ;;
  url)
    node_url 1
    node_url 2
    ;;
  primary)
    node=$(node_with f) || die "no primary"
    node_url "$node"
    ;;
  standby)
    node=$(node_with t) || die "no replica"
    node_url "$node"
    ;;
  crash) crash ;;
  promote) promote ;;
  rejoin) rejoin ;;
  wipe)
    stop
    rm -rf "$FOLDER"
    ;;
  *) die "start|stop|status|url|primary|standby|crash|promote|rejoin|wipe" ;;
esac
