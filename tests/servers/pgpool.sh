#!/bin/bash
# Pgpool-II in front of two PostgreSQL servers.  pgpool.sh start|stop|status|url|wipe
#
#   BACKENDS="postgres://.. postgres://.."  the servers, the primary first: of one
#                                           version, and without passwords
#   MODE=streaming_replication              or native_replication, logical_replication
#   SETTINGS="a = b"                        further settings, one a line
#   SUFFIX=native PORT=61863                another instance
#
# Reads go to both servers. Of functions, only those of sequences count as writes: the list that
# older versions came with. So the functions for locks run on either server.
NAME=pgpool${SUFFIX:-}
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
FOLDER=$RUN/$NAME
PORT=${PORT:-$(port 61861)}
PROGRAM=/usr/sbin/pgpool
read -rd '' -a BACKENDS <<<"${BACKENDS:?}" || true # words or lines

# parse URL: sets PG_USER, HOST, BACKEND_PORT, DATABASE
parse() {
  local pattern='^postgres(ql)?://([^:@/]*)@([^:/?@]+)(:([0-9]+))?/([^?]*)'
  [[ $1 =~ $pattern ]] || die "not of the form postgres://user@host:port/database: $1"
  PG_USER=${BASH_REMATCH[2]}
  HOST=${BASH_REMATCH[3]}
  BACKEND_PORT=${BASH_REMATCH[5]:-5432}
  DATABASE=${BASH_REMATCH[6]}
}

config() {
  local backend n=0
  parse "${BACKENDS[0]}"
  cat <<CONFIG
listen_addresses = '127.0.0.1'
port = $PORT
socket_dir = '$FOLDER'
pcp_listen_addresses = ''
pcp_port = $PORT
pcp_socket_dir = '$FOLDER/pcp'
pid_file_name = '$FOLDER/own.pid'
logdir = '$FOLDER'
backend_clustering_mode = '${MODE:-streaming_replication}'
load_balance_mode = on
read_only_function_list = ''
write_function_list = 'currval,lastval,nextval,setval'
num_init_children = 40
max_pool = 1
enable_pool_hba = off
pool_passwd = ''
health_check_period = 0
failover_on_backend_error = off
sr_check_period = 5
sr_check_user = '$(percent_decode "$PG_USER")'
sr_check_database = '$(percent_decode "$DATABASE")'
CONFIG
  for backend in "${BACKENDS[@]}"; do
    parse "$backend"
    cat <<CONFIG
backend_hostname$n = '$HOST'
backend_port$n = $BACKEND_PORT
backend_weight$n = 1
backend_flag$n = 'DISALLOW_TO_FAILOVER'
CONFIG
    n=$((n + 1))
  done
  echo "${SETTINGS:-}"
}

# with other settings than these it counts as down
up() { alive "$FOLDER/pid" && answers "$PORT" && config | cmp -s - "$FOLDER/config"; }

# The pid is there at once, so that a start that is interrupted can be stopped.
launch() {
  become "$1" "$PROGRAM" -n -D -f "$FOLDER/config" -F "$FOLDER/pcp.conf" -a "$FOLDER/hba" \
    >"$FOLDER/log" 2>&1 </dev/null &
  echo $! >"$FOLDER/pid"
}

answers_queries() { psql -X "$(url)" -c 'select 1'; }

start() {
  if up; then
    say "already up on port $PORT"
    return
  fi
  need "$PROGRAM" pgpool2
  need psql postgresql-client
  local user
  user=$(account postgres)
  stop_pid "$FOLDER/pid" INT 20
  require_free "$PORT"
  mkdir -p "$FOLDER/pcp"
  config >"$FOLDER/config"
  : >"$FOLDER/pcp.conf"
  own "$user" "$FOLDER"
  launch "$user"
  if ! wait_for 20 answers_queries; then
    stop_pid "$FOLDER/pid" INT 20
    die_with "$FOLDER/log" "start failed"
  fi
  say "up: $(url), in front of ${BACKENDS[*]}"
}

stop() {
  stop_pid "$FOLDER/pid" INT 20
  say "stopped (its servers were left as they are)"
}

url() {
  parse "${BACKENDS[0]}"
  echo "postgres://$PG_USER@127.0.0.1:$PORT/$DATABASE"
}

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
