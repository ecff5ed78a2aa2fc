#!/bin/bash
# MySQL, one server, without touching this machine's packages.  mysql.sh start|stop|status|url|version|wipe
#
# Of Debian's suites only sid has MySQL. Its packages are unpacked with all their libraries and run with the ld.so among
# them, so neither root nor a chroot is needed. The suite moves on; seen: MySQL 9.7.4.
#
#   SUFFIX=victim PORT=61809     another instance
#   DBOPTS=--max-connections=10  further settings
NAME=mysql${SUFFIX:-}
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
PORT=${PORT:-$(port 61807)}
# shellcheck source=mysqld.sh
. "$HERE/mysqld.sh"

fetch() {
  local tree=$CACHE/mysql loader
  apt_tree "$tree" sid mysql-server-core mysql-client-core
  tree=$tree/root/usr
  loader=$(find "$tree/lib" -name 'ld-linux-*.so.*' -type f | head -n 1)
  local run=("$loader" --library-path "$(dirname "$loader")")
  SERVER=("${run[@]}" "$tree/sbin/mysqld" --no-defaults --lc-messages-dir="$tree/share/mysql"
    --character-sets-dir="$tree/share/mysql/charsets" --plugin-dir="$tree/lib/mysql/plugin"
    --secure-file-priv=NULL --mysqlx=OFF --skip-log-bin)
  CLIENT=("${run[@]}" "$tree/bin/mysql")
}

create_data() (
  cd /
  as "$ACCOUNT" "${SERVER[@]}" --datadir="$DATA" --log-error="$LOG" --initialize-insecure ||
    die_with "$LOG" "mysqld --initialize-insecure failed"
)

main "$@"
