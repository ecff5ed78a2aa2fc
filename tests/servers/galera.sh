#!/bin/bash
# A Galera cluster of one node, by mariadb.sh.  galera.sh start|stop|status|url|version|wipe
NAME=galera
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
LIBRARY=/usr/lib/galera/libgalera_smm.so
GROUP=127.0.0.1:$(port 61811)

if [ "${1:-}" = start ]; then
  need "$LIBRARY" galera-4
  # after a kill it would wait for a node that knows more
  sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' "$RUN/mariadbgalera/data/grastate.dat" 2>/dev/null || true
fi

unset MARIADB_SUITE # its library is this machine's
export SUFFIX=galera PORT="${PORT:-$(port 61810)}"
export DBOPTS="--wsrep-on=ON --wsrep-provider=$LIBRARY --wsrep-cluster-address=gcomm:// --wsrep-node-address=$GROUP
  --wsrep-provider-options=gmcast.listen_addr=tcp://$GROUP;gcache.size=16M
  --binlog-format=ROW --default-storage-engine=InnoDB --innodb-autoinc-lock-mode=2"
exec "$HERE/mariadb.sh" "$@"
