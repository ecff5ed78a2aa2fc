#!/bin/bash
# PgBouncer in front of a PostgreSQL.  pgbouncer.sh start|stop|status|url|wipe
#
#   BACKEND_URL=postgres://..   the PostgreSQL; without it, pg.sh starts one
#   POOL_MODE=transaction       or session, statement
#   POOL_SIZE=5                 server connections
#   IGNORE=extra_float_digits   startup parameters that PgBouncer drops
#   PGB_EXTRA="a = b"           further settings
#   SUFFIX=session PORT=62434   another instance
#   PGBVER=sid                  the newer PgBouncer of Debian sid (port 62433)
NAME=pgbouncer${PGBVER:-}${SUFFIX:-}
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
FOLDER=$RUN/$NAME
INI=$FOLDER/ini

# SUFFIX is ours and not the PostgreSQL's
own_backend() { env -u SUFFIX "$HERE/pg.sh" "$@"; }

if [ -z "${BACKEND_URL:-}" ]; then
  BACKEND_URL=$(own_backend url)
  OWN_BACKEND=1
fi

if [ -n "${PGBVER:-}" ]; then
  PORT=${PORT:-$(port 62433)}
  TREE=$CACHE/pgbouncer$PGBVER
else
  PORT=${PORT:-$(port 62432)}
fi

# sets PROGRAM
fetch() {
  if [ -z "${PGBVER:-}" ]; then
    need /usr/sbin/pgbouncer pgbouncer
    PROGRAM=(/usr/sbin/pgbouncer)
  else
    apt_tree "$TREE" "$PGBVER" pgbouncer
    # with its own libraries, and so with its own ld.so
    local loader
    loader=$(find "$TREE/root" -name 'ld-linux-*.so.*' -type f | head -n 1)
    PROGRAM=("$loader" --library-path "$(dirname "$loader")" "$TREE/root/usr/sbin/pgbouncer")
  fi
}

# sets HOST, BACKEND_PORT, CREDENTIALS, DATABASE from BACKEND_URL
parse_backend() {
  local pattern='^postgres(ql)?://([^:@/]*)(:([^@/]*))?@([^:/?]+)(:([0-9]+))?/([^?]*)'
  [[ $BACKEND_URL =~ $pattern ]] || die "not of the form postgres://user:password@host:port/database: $BACKEND_URL"
  HOST=${BASH_REMATCH[5]}
  BACKEND_PORT=${BASH_REMATCH[7]:-5432}
  DATABASE=${BASH_REMATCH[8]}
  CREDENTIALS="user='$(decode "${BASH_REMATCH[2]}")'"
  if [ -n "${BASH_REMATCH[4]}" ]; then
    CREDENTIALS+=" password='$(decode "${BASH_REMATCH[4]}")'" # PgBouncer refuses an empty one
  fi
}

# with quotes doubled for PgBouncer
decode() {
  local text
  text=$(percent_decode "$1")
  echo "${text//\'/\'\'}"
}

# The user must be named: auth_type = any forgets the client's.
config() {
  cat <<CONFIG
[databases]
* = host=$HOST port=$BACKEND_PORT $CREDENTIALS
${DATABASE}_alias = host=$HOST port=$BACKEND_PORT dbname=$DATABASE $CREDENTIALS
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $PORT
unix_socket_dir =
auth_type = any
auth_file = $FOLDER/users
admin_users = postgres
stats_users = postgres
pool_mode = ${POOL_MODE:-transaction}
default_pool_size = ${POOL_SIZE:-5}
max_client_conn = 500
ignore_startup_parameters = ${IGNORE:-extra_float_digits}
pidfile = $FOLDER/pid
logfile = $FOLDER/log
${PGB_EXTRA:-}
CONFIG
}

# with other settings than these it counts as down
up() { alive "$FOLDER/pid" && answers "$PORT" && config | cmp -s - "$INI"; }

start() {
  if up; then
    say "already up on port $PORT"
    return
  fi
  fetch
  need psql postgresql-client
  if [ -n "${OWN_BACKEND:-}" ]; then
    own_backend start
  fi
  stop_pid "$FOLDER/pid" INT 20
  require_free "$PORT"
  local user
  user=$(account postgres)
  mkdir -p "$FOLDER"
  config >"$INI"
  chmod 600 "$INI" # the password
  echo '"postgres" ""' >"$FOLDER/users"
  own "$user" "$FOLDER"
  as "$user" "${PROGRAM[@]}" -q -d "$INI" || die_with "$FOLDER/log" "start failed"
  if ! wait_for 10 psql -X "$(url)" -c 'select 1'; then
    stop_pid "$FOLDER/pid" INT 20
    die_with "$FOLDER/log" "no answer"
  fi
  say "up: $(url) ($("${PROGRAM[@]}" --version | sed -n 1p))"
}

stop() {
  stop_pid "$FOLDER/pid" INT 20
  say "stopped (its PostgreSQL was left as it is)"
}

url() { echo "postgres://postgres@127.0.0.1:$PORT/$DATABASE"; }

parse_backend
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
