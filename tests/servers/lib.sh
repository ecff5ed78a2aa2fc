# shellcheck shell=bash
# What the scripts beside this file share; they source it. Each of them runs one kind of server on loopback:
#
#   NAME.sh start | stop | status | url | wipe
#
# A script sets NAME first: it names the server's folder and its messages. Everything lives in $DBS, a throwaway folder.
# DLOCK_TEST_PORT_OFFSET moves every default port.
set -euo pipefail
: "${NAME:?}"
umask 022 # the servers run as accounts of their own and must be able to read what root writes

say() { echo "[$NAME] $*" >&2; }

die() {
  say "$*"
  exit 1
}

# shellcheck disable=SC2034 # HERE and CACHE are for the scripts
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DBS=${DBS:-${TMPDIR:-/tmp}/dlock-servers}
mkdir -p "$DBS/run" "$DBS/cache" || die "cannot write to $DBS: set TMPDIR to another folder"
DBS=$(cd "$DBS" && pwd)
RUN=$DBS/run
# shellcheck disable=SC2034
CACHE=$DBS/cache

port() { echo $(($1 + ${DLOCK_TEST_PORT_OFFSET:-0})); }

answers() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_for SECONDS COMMAND...
wait_for() {
  local tries=$(($1 * 5))
  shift
  while ((tries-- > 0)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  return 1
}

# die_with LOG MESSAGE
die_with() {
  tail -n 8 "$1" >&2 || true
  die "$2 (more in $1)"
}

require_free() {
  ! answers "$1" || die "port $1 is taken by another program; DLOCK_TEST_PORT_OFFSET=100 moves all ports by 100"
}

# --- accounts and processes ---

is_root() { [ "$(id -u)" = 0 ]; }

# account PREFERRED...: the first that exists; it matters only when we are root
account() {
  local name
  for name in "$@" nobody; do
    if id -u "$name" >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
}

# as ACCOUNT COMMAND...: servers refuse to run as root
as() (become "$@")

# become ACCOUNT COMMAND...: the same in the place of this shell
become() {
  local name=$1
  shift
  cd / # the account may not be allowed to be in the current folder
  if is_root; then
    exec setpriv --reuid="$(id -u "$name")" --regid="$(id -g "$name")" --clear-groups env HOME=/tmp "$@"
  else
    exec "$@"
  fi
}

own() {
  if is_root; then
    chown -R "$(id -u "$1"):$(id -g "$1")" "${@:2}"
  fi
}

# runs PID FOLDER: a pid file can outlive its server and the number go to another process, so that process must name
# the server's folder in its command line
runs() { grep -qsaF -- "$2" "/proc/$1/cmdline"; }

# alive PIDFILE
alive() { [ -s "$1" ] && runs "$(head -n 1 "$1")" "$(dirname "$1")"; }

# stop_pid PIDFILE SIGNAL SECONDS: SIGKILL after SECONDS
stop_pid() {
  local file=$1 signal=$2 tries=$(($3 * 10)) folder pid
  folder=$(dirname "$file")
  if alive "$file"; then
    pid=$(head -n 1 "$file")
    kill -"$signal" "$pid"
    while runs "$pid" "$folder" && ((tries-- > 0)); do
      sleep 0.1
    done
    if runs "$pid" "$folder"; then
      say "process $pid did not stop: SIGKILL"
      kill -KILL "$pid"
      sleep 0.3
    fi
  fi
  rm -f "$file"
}

# percent_decode TEXT: of a URL
percent_decode() { printf '%b' "${1//%/\\x}"; }

# --- packages ---

# apt_update PACKAGE...: for the sake of these packages
apt_update() {
  is_root || die "missing programs; as root: apt-get update && apt-get install ${PACKAGES:-$*}"
  say "apt-get update"
  apt-get -o DPkg::Lock::Timeout=900 update >"$RUN/apt.log" 2>&1 || die_with "$RUN/apt.log" "apt-get update failed"
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=900 install -y --no-install-recommends "$@" >"$RUN/apt.log" 2>&1
}

# need PROGRAM PACKAGE...: installs the packages unless the program, or the file, is there
need() (
  program=$1
  shift
  if [[ $program = /* && -e $program ]] || command -v "$program" >/dev/null; then
    exit 0
  fi
  is_root || die "missing $program; as root: apt-get install ${PACKAGES:-$*}"
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    # Debian's packages would start a service on the default port
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
  fi
  say "installing $*"
  if ! apt_install "$@"; then
    apt_update "$@" # the lists were missing or too old
    say "installing $*"
    apt_install "$@" || die_with "$RUN/apt.log" "apt-get install $* failed"
  fi
)

# the Debian mirror that this machine uses
# shellcheck disable=SC2016 # apt expands it
mirror() { apt-get indextargets --format '$(REPO_URI)' | grep -v security | sed -n 1p; }

# apt_tree FOLDER SUITE PACKAGE...: unpacks packages of another Debian suite, with all their dependencies, in
# FOLDER/root. apt checks the signatures; this machine's own packages stay as they are.
apt_tree() {
  local folder=$1 suite=$2 deb
  shift 2
  if [ -e "$folder/ok" ]; then
    return
  fi
  say "fetching $* from Debian $suite"
  rm -rf "$folder"
  mkdir -p "$folder"/apt/lists/partial "$folder"/apt/archives/partial "$folder"/root
  : >"$folder/apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main" >"$folder/apt/sources.list"
  local options=(
    -o Dir::State="$folder/apt"
    -o Dir::State::Lists="$folder/apt/lists"
    -o Dir::State::status="$folder/apt/status"
    -o Dir::Cache="$folder/apt"
    -o Dir::Cache::archives="$folder/apt/archives"
    -o Dir::Etc::SourceList="$folder/apt/sources.list"
    -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null
    -o Dir::Etc::PreferencesParts=/dev/null
    -o Acquire::Languages=none
    -o APT::Sandbox::User=root
    -o APT::Install-Recommends=0
    -o Debug::NoLocking=1
    -o APT::Update::Post-Invoke::=true
  )
  apt-get "${options[@]}" update >"$folder/log" 2>&1 || die_with "$folder/log" "apt-get update failed"
  apt-get "${options[@]}" install -y --download-only "$@" >>"$folder/log" 2>&1 || die_with "$folder/log" "download failed"
  for deb in "$folder"/apt/archives/*.deb; do
    dpkg-deb -x "$deb" "$folder/root"
  done
  rm -rf "$folder/apt/archives" "$folder/apt/lists"
  chmod -R a+rX "$folder"
  : >"$folder/ok"
}
