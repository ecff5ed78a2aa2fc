#!/bin/bash
# MySQL, one server, without touching this machine's packages.  mysql.sh start|stop|status|url|version|wipe
#
# Of Debian's suites only sid has MySQL. The suite moves on; seen: MySQL 9.7.4.
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
  fetch_tree sid mysql-server-core mysql-client-core
  SERVER=("${RUN_IN_TREE[@]}" "$TREE/sbin/mysqld" --no-defaults --lc-messages-dir="$TREE/share/mysql"
    --character-sets-dir="$TREE/share/mysql/charsets" --plugin-dir="$TREE/lib/mysql/plugin"
    --secure-file-priv=NULL --mysqlx=OFF --skip-log-bin)
  CLIENT=("${RUN_IN_TREE[@]}" "$TREE/bin/mysql")
}

create_data() { as "$ACCOUNT" "${SERVER[@]}" --datadir="$1" --initialize-insecure; }

main "$@"
