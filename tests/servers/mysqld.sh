# shellcheck shell=bash
# What mariadb.sh and mysql.sh share; they source it.
#
# A script sets NAME and PORT and defines
#   fetch             gets the programs, sets SERVER and CLIENT, two arrays
#   create_data FOLDER  fills it, as $ACCOUNT
# and calls `main "$@"`.
: "${NAME:?}" "${PORT:?}" "${RUN:?}"
FOLDER=$RUN/$NAME
DATA=$FOLDER/data
LOG=$FOLDER/log.err # MariaDB insists on the ending
export TMPDIR=$FOLDER/tmp # that of the caller may not be the account's to write to

# the account is Debian's, if it is there
ACCOUNT=$(account mysql)

# fetch_tree SUITE PACKAGE...: packages of another Debian suite, to run with all their libraries and the ld.so among them,
# so that neither root nor a chroot is needed; sets TREE, their /usr, and RUN_IN_TREE
fetch_tree() {
  local folder=$CACHE/$1-$2 loader
  apt_tree "$folder" "$@"
  TREE=$folder/root/usr
  loader=$(find "$TREE/lib" -name 'ld-linux-*.so.*' -type f | head -n 1)
  # shellcheck disable=SC2034 # it is for the scripts
  RUN_IN_TREE=("$loader" --library-path "$(dirname "$loader")")
}

up() { alive "$FOLDER/pid" && answers "$PORT"; }

# The account without a name stands for every name: so a test tells its applications apart. Without a password, since
# MySQL wants passwords through TLS or RSA. Not in the binary log: each member of a group runs this for itself.
write_init() {
  cat >"$FOLDER/init.sql" <<'SQL'
SET SQL_LOG_BIN = 0;
CREATE DATABASE IF NOT EXISTS dlock;
CREATE USER IF NOT EXISTS ''@'%';
GRANT ALL ON *.* TO ''@'%' WITH GRANT OPTION;
SQL
}

# The pid is there at once, so that a start that is interrupted can be stopped.
launch() {
  # shellcheck disable=SC2086 # DBOPTS are words
  become "$ACCOUNT" "${SERVER[@]}" --datadir="$DATA" --port="$PORT" --bind-address=127.0.0.1 --socket="$FOLDER/socket" \
    --pid-file="$FOLDER/own.pid" --log-error="$LOG" --init-file="$FOLDER/init.sql" --skip-name-resolve \
    --innodb-flush-log-at-trx-commit=0 --max-connections=500 ${DBOPTS:-} >/dev/null 2>&1 </dev/null &
  echo $! >"$FOLDER/pid"
}

# or it has ended
is_ready() { client -e 'SELECT 1' || ! kill -0 "$(cat "$FOLDER/pid")"; }

client() { "${CLIENT[@]}" --no-defaults -h127.0.0.1 -P"$PORT" -udlock "$@"; }

start() {
  if up; then
    say "already up on port $PORT"
    return
  fi
  fetch
  mkdir -p "$TMPDIR"
  write_init
  own "$ACCOUNT" "$FOLDER"
  if [ ! -d "$DATA" ]; then
    say "creating $DATA"
    rm -rf "$DATA.part"
    as "$ACCOUNT" mkdir "$DATA.part"
    create_data "$DATA.part" >"$FOLDER/create.log" 2>&1 || die_with "$FOLDER/create.log" "cannot create $DATA"
    mv "$DATA.part" "$DATA"
  fi
  require_free "$PORT"
  launch
  wait_for 90 is_ready || true
  up || die_with "$LOG" "start failed; '$0 wipe' gives it fresh data"
  say "up: $(url)"
}

stop() {
  stop_pid "$FOLDER/pid" TERM 60
  say stopped
}

url() { echo "mysql://dlock@127.0.0.1:$PORT/dlock"; }

version() {
  fetch
  client -Ne 'SELECT version()' 2>/dev/null
}

main() {
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
}
