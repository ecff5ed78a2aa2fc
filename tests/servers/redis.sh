#!/bin/bash
# Redis, one server, for the benchmark.  redis.sh start|stop|status|url|version|wipe
#
#   PORT=61840  its port
NAME=redis
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
FOLDER=$RUN/$NAME
PORT=${PORT:-$(port 61840)}

fetch() { need redis-server redis-server; }

up() { alive "$FOLDER/pid" && answers "$PORT"; }

# The pid is there at once, so that a start that is interrupted can be stopped.
launch() {
  # With its title it would hide its folder, by which it is known.
  become "$ACCOUNT" "$(command -v redis-server)" --dir "$FOLDER" --port "$PORT" --bind 127.0.0.1 --save '' --appendonly no \
    --set-proc-title no --logfile "$FOLDER/log" >/dev/null 2>&1 </dev/null &
  echo $! >"$FOLDER/pid"
}

start() {
  if up; then
    say "already up on port $PORT"
    return
  fi
  fetch
  ACCOUNT=$(account redis) # Debian's package makes this account
  mkdir -p "$FOLDER"
  own "$ACCOUNT" "$FOLDER"
  require_free "$PORT"
  launch
  wait_for 20 answers "$PORT" || true
  up || die_with "$FOLDER/log" "start failed"
  say "up: $(url)"
}

stop() {
  stop_pid "$FOLDER/pid" TERM 20
  say stopped
}

url() { echo "redis://127.0.0.1:$PORT"; }

version() {
  fetch
  redis-server --version | sed 's/.*v=\([0-9.]*\).*/\1/'
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) up ;;
  url) url ;;
  version) version ;;
  wipe)
    stop
    rm -rf "$FOLDER"
    ;;
  *) die "start|stop|status|url|version|wipe" ;;
esac
