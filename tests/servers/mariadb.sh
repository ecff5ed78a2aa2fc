#!/bin/bash
# MariaDB, one server.  mariadb.sh start|stop|status|url|version|wipe
#
#   MARIADB_SUITE=sid            the newer MariaDB of this Debian suite, beside this machine's packages
#   SUFFIX=victim PORT=61808     another instance
#   DBOPTS=--max-connections=10  further settings
NAME=mariadb${MARIADB_SUITE:-}${SUFFIX:-}
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
PORT=${PORT:-$(port 61806)}
# shellcheck source=mysqld.sh
. "$HERE/mysqld.sh"

fetch() {
  if [ -z "${MARIADB_SUITE:-}" ]; then
    need /usr/sbin/mariadbd mariadb-server-core
    need mariadb mariadb-client-core
    SERVER=(/usr/sbin/mariadbd --no-defaults)
    CLIENT=(mariadb)
    SQL=/usr/share/mysql
  else
    fetch_tree "$MARIADB_SUITE" mariadb-server-core mariadb-client-core
    SQL=$TREE/share/mariadb
    SERVER=("${RUN_IN_TREE[@]}" "$TREE/sbin/mariadbd" --no-defaults --lc-messages-dir="$SQL" --character-sets-dir="$SQL/charsets")
    CLIENT=("${RUN_IN_TREE[@]}" "$TREE/bin/mariadb")
  fi
  # The tests see locks and the variables of sessions in performance_schema, which MariaDB leaves off.
  SERVER+=(--performance-schema=ON --performance-schema-instrument='wait/lock/metadata/sql/mdl=ON')
}

# What mariadb-install-db does, which does not find the programs of another suite.
create_data() {
  {
    printf '%s\n' 'CREATE DATABASE mysql;' 'USE mysql;'
    cat "$SQL"/*_{system_tables,performance_tables,system_tables_data}.sql
  } | as "$ACCOUNT" "${SERVER[@]}" --datadir="$1" --bootstrap
}

main "$@"
