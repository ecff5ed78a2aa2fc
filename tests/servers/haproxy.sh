#!/bin/bash
# HAProxy in TCP mode: each connection goes to the next server.
#
#   haproxy.sh start|stop|status|url|wipe
#
#   BACKENDS="postgres://.. postgres://.."  the servers, all PostgreSQL or all MySQL or MariaDB;
#                                           `url` has the first one's user, password and database
#   SUFFIX=mysql PORT=61853                 another instance
#
# No health checks: they would take their turns, too.
NAME=haproxy${SUFFIX:-}
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
FOLDER=$RUN/$NAME
PORT=${PORT:-$(port 61851)}
read -rd '' -a BACKENDS <<<"${BACKENDS:?}" || true # words or lines

# parse URL: sets LOGIN (scheme, user and password), HOST, BACKEND_PORT, DATABASE
parse() {
  local pattern='^(([a-z]+)://([^/@]*@)?)([^/:?@]+)(:([0-9]+))?/([^?]*)' default=3306
  [[ $1 =~ $pattern ]] || die "not of the form scheme://user:password@host:port/database: $1"
  [[ ${BASH_REMATCH[2]} != postgres* ]] || default=5432
  LOGIN=${BASH_REMATCH[1]}
  HOST=${BASH_REMATCH[4]}
  BACKEND_PORT=${BASH_REMATCH[6]:-$default}
  DATABASE=${BASH_REMATCH[7]}
}

config() {
  local backend n=0
  cat <<CONFIG
global
  maxconn 400
  nbthread 1
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen servers
  bind 127.0.0.1:$PORT
  balance roundrobin
CONFIG
  for backend in "${BACKENDS[@]}"; do
    parse "$backend"
    echo "  server server$((++n)) $HOST:$BACKEND_PORT"
  done
}

# With other settings than these it counts as down. A connection to find out whether it answers
# would take a turn.
up() { alive "$FOLDER/pid" && config | cmp -s - "$FOLDER/config"; }

# admit URL: gives this server the user and the database of the first; passwords are not copied
admit() {
  local user database
  parse "${BACKENDS[0]}"
  database=$(percent_decode "$DATABASE")
  user=${LOGIN#*://}
  user=$(percent_decode "${user%%[:@]*}")
  if [[ $1 = postgres* ]]; then
    need psql postgresql-client
    psql -X "$1" -qAt -v user="$user" -v database="$database" <<'SQL'
SELECT format('CREATE ROLE %I SUPERUSER LOGIN', :'user')
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec
SELECT format('CREATE DATABASE %I', :'database')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
SQL
  else
    parse "$1"
    need mariadb mariadb-client-core
    mariadb --no-defaults -h"$HOST" -P"$BACKEND_PORT" -u"$user" \
      -e "CREATE DATABASE IF NOT EXISTS \`$database\`"
  fi
}

start() {
  if up; then
    say "already up on port $PORT"
    return
  fi
  need /usr/sbin/haproxy haproxy
  local user backend
  for backend in "${BACKENDS[@]:1}"; do
    admit "$backend" || die "cannot prepare $backend"
  done
  user=$(account haproxy) # Debian's package makes this account
  stop_pid "$FOLDER/pid" TERM 20
  require_free "$PORT"
  mkdir -p "$FOLDER"
  config >"$FOLDER/config"
  own "$user" "$FOLDER"
  # it listens when this returns
  as "$user" /usr/sbin/haproxy -D -f "$FOLDER/config" -p "$FOLDER/pid" >"$FOLDER/log" 2>&1 ||
    die_with "$FOLDER/log" "start failed"
  say "up: $(url), in front of ${BACKENDS[*]}"
}

stop() {
  stop_pid "$FOLDER/pid" TERM 20
  say "stopped (its servers were left as they are)"
}

url() {
  parse "${BACKENDS[0]}"
  echo "${LOGIN}127.0.0.1:$PORT/$DATABASE"
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
