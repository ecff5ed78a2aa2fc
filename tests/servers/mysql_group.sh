#!/bin/bash
# MySQL Group Replication: three members on loopback in single-primary mode, by mysql.sh.
#
#   mysql_group.sh start | stop | status | url | wipe
#                             start also heals a group that is broken; url prints all members
#   mysql_group.sh url N      the URL of member N: 1, 2 or 3
#   mysql_group.sh primary    the URL of the member that takes writes
#   mysql_group.sh freeze N   SIGSTOP: its connections stay open and nothing answers
#   mysql_group.sh thaw N     SIGCONT
#   mysql_group.sh leave N    STOP GROUP_REPLICATION
#   mysql_group.sh join N     START GROUP_REPLICATION
#
# Ports: 61821 to 61823 for clients, 61824 to 61826 among the members.
NAME=mysql_group
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
MEMBERS=(1 2 3)
GROUP=8f0d9f6e-64f5-4a7c-9d0e-d10c4d10c4d1

client_port() { port $((61820 + $1)); }

group_address() { echo "127.0.0.1:$(port $((61823 + $1)))"; }

# options N
options() {
  local n seeds=()
  for n in "${MEMBERS[@]}"; do
    seeds+=("$(group_address "$n")")
  done
  echo "--server-id=$1 --log-bin=binlog --gtid-mode=ON --enforce-gtid-consistency=ON
    --report-host=127.0.0.1 --report-port=$(client_port "$1")
    --innodb-buffer-pool-size=32M --innodb-redo-log-capacity=64M
    --plugin-load-add=group_replication.so
    --group-replication-group-name=$GROUP
    --group-replication-start-on-boot=OFF
    --group-replication-local-address=$(group_address "$1")
    --group-replication-group-seeds=$(IFS=, && echo "${seeds[*]}")
    --group-replication-ip-allowlist=127.0.0.1
    --group-replication-recovery-get-public-key=ON"
}

# member N COMMAND
member() {
  SUFFIX=group$1 PORT=$(client_port "$1") DBOPTS=$(options "$1") "$HERE/mysql.sh" "${@:2}"
}

pid_file() { echo "$RUN/mysqlgroup$1/pid"; }

# query N STATEMENT [SECONDS]: a frozen member accepts connections and never answers
query() {
  timeout "${3:-5}" mariadb --no-defaults -h127.0.0.1 -P"$(client_port "$1")" -udlock -Ne "$2"
}

# check_member N
check_member() { [[ ${1:-} = [123] ]] || die "no member '${1:-}': 1, 2 or 3"; }

# signal N SIGNAL
signal() {
  local file
  file=$(pid_file "$1")
  ! alive "$file" || kill -"$2" "$(cat "$file")"
}

# each COMMAND N...: COMMAND with each of these members at the same time; fails if one failed
each() {
  local command=$1 n job jobs=() result=0
  shift
  for n in "$@"; do
    "$command" "$n" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do
    wait "$job" || result=1
  done
  return "$result"
}

thaw() { signal "$1" CONT; }

# sees_all N: this member sees all of them online, and one primary
sees_all() {
  local states
  states=$(query "$1" "SELECT CONCAT(SUM(MEMBER_STATE = 'ONLINE'), SUM(MEMBER_ROLE = 'PRIMARY'))
    FROM performance_schema.replication_group_members" 2>/dev/null) && [ "$states" = 31 ]
}

up() {
  local n
  for n in "${MEMBERS[@]}"; do
    alive "$(pid_file "$n")" && sees_all "$n" || return
  done
}

start_server() { member "$1" start; }

stop_server() { member "$1" stop; }

start_replication() {
  # The account without a name has this one's password: none.
  query "$1" "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'dlock'
      FOR CHANNEL 'group_replication_recovery';
    START GROUP_REPLICATION" 60
}

stop_replication() { query "$1" 'STOP GROUP_REPLICATION' 60; }

# has_all N: this member has every transaction of the others
has_all() {
  local n other
  for n in "${MEMBERS[@]}"; do
    other=$(query "$n" 'SELECT @@gtid_executed') || return
    [ "$(query "$1" "SELECT GTID_SUBSET('$other', @@gtid_executed)")" = 1 ] || return
  done
}

# join N: a member with transactions of its own cannot; it gets fresh data, and all transactions
# from the binary log of another
join() {
  stop_replication "$1" || die "member $1 does not leave the group"
  if ! start_replication "$1"; then
    say "member $1 gets fresh data"
    member "$1" wipe
    start_server "$1"
    start_replication "$1" || die_with "$RUN/mysqlgroup$1/log.err" "member $1 does not join"
  fi
}

# a new group, of the member with the most transactions and then the others
bootstrap() {
  local n first=1 others=()
  each stop_replication "${MEMBERS[@]}" || die "not all members leave the group"
  for n in "${MEMBERS[@]}"; do
    if has_all "$n"; then
      first=$n
      break
    fi
  done
  query "$first" 'SET GLOBAL group_replication_bootstrap_group = ON'
  start_replication "$first" ||
    die_with "$RUN/mysqlgroup$first/log.err" "the group does not start"
  query "$first" 'SET GLOBAL group_replication_bootstrap_group = OFF'
  for n in "${MEMBERS[@]}"; do
    [ "$n" = "$first" ] || others+=("$n")
  done
  each join "${others[@]}"
}

# state N: of this member, as it sees itself
state() {
  query "$1" 'SELECT MEMBER_STATE FROM performance_schema.replication_group_members
    WHERE MEMBER_ID = @@server_uuid'
}

start() {
  local n offline=()
  if up; then
    say "already up"
    return
  fi
  need mariadb mariadb-client-core
  each thaw "${MEMBERS[@]}"
  start_server 1 # fetches what the others use, too
  each start_server "${MEMBERS[@]:1}"
  for n in "${MEMBERS[@]}"; do
    [ "$(state "$n")" != OFFLINE ] || offline+=("$n")
  done
  # those that were frozen come back by themselves, also after the others had expelled them
  if [ ${#offline[@]} -gt 1 ] || ! each join "${offline[@]}" || ! wait_for 15 up; then
    bootstrap
    wait_for 60 up || die_with "$RUN/mysqlgroup1/log.err" "not all members are online"
  fi
  say "up: primary $(primary)"
}

stop() {
  each thaw "${MEMBERS[@]}" # a frozen one would not see SIGTERM
  each stop_server "${MEMBERS[@]}"
}

url() { echo "mysql://dlock@127.0.0.1:$(client_port "$1")/dlock"; }

# from the first member that knows it
primary() {
  local n port
  for n in "${MEMBERS[@]}"; do
    port=$(query "$n" "SELECT MEMBER_PORT FROM performance_schema.replication_group_members
      WHERE MEMBER_ROLE = 'PRIMARY' AND MEMBER_STATE = 'ONLINE'" 2>/dev/null) || continue
    if [ -n "$port" ]; then
      echo "mysql://dlock@127.0.0.1:$port/dlock"
      return
    fi
  done
  die "no primary"
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) up ;;
  url)
    if [ $# -gt 1 ]; then
      check_member "$2"
      url "$2"
    else
      for n in "${MEMBERS[@]}"; do
        url "$n"
      done
    fi
    ;;
  primary) primary ;;
  freeze)
    check_member "${2:-}"
    signal "$2" STOP
    ;;
  thaw)
    check_member "${2:-}"
    thaw "$2"
    ;;
  leave)
    check_member "${2:-}"
    stop_replication "$2"
    ;;
  join)
    check_member "${2:-}"
    start_replication "$2"
    ;;
  wipe)
    each thaw "${MEMBERS[@]}"
    for n in "${MEMBERS[@]}"; do
      member "$n" wipe
    done
    ;;
  *) die "start|stop|status|url|primary|freeze|thaw|leave|join|wipe" ;;
esac
