#!/bin/bash
# MariaDB, one server.  mariadb.sh start|stop|status|url|version|wipe
#
#   SUFFIX=victim PORT=61808     another instance
#   DBOPTS=--max-connections=10  further settings
NAME=mariadb${SUFFIX:-}
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
PORT=${PORT:-$(port 61806)}
# shellcheck source=mysqld.sh
. "$HERE/mysqld.sh"

# The tests see locks and the variables of sessions in performance_schema, which MariaDB leaves off.
fetch() {
  need mariadbd mariadb-server-core
  need mariadb mariadb-client-core
  SERVER=(mariadbd --no-defaults --performance-schema=ON --performance-schema-instrument='wait/lock/metadata/sql/mdl=ON')
  CLIENT=(mariadb)
}

create_data() {
  as "$ACCOUNT" mariadb-install-db --no-defaults --datadir="$DATA" --auth-root-authentication-method=normal \
    --skip-test-db >"$FOLDER/install.log" 2>&1 || die_with "$FOLDER/install.log" "mariadb-install-db failed"
}

main "$@"
