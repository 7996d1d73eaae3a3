#!/usr/bin/env bash
# Starts and stops a PostgreSQL server with pgvector for tests: on loopback only, everything of it in one folder.
#
# usage: scripts/postgres-server.sh start DIR
#        scripts/postgres-server.sh stop DIR
#
#   start    prints the server's address, with its password, on one line. DIR is made if need be; a server that was
#            stopped starts again with what it held, at the same port.
#   stop     ends the server at once and keeps DIR
#   --help   this text
#
# The server is what scripts/setup.sh --tests unpacked. It refuses to run as root: then it runs as the user nobody,
# who gets DIR and must be able to reach it. Nothing survives a power cut: these are tests.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in
  start | stop) [ $# -eq 2 ] || die "$1 needs one folder" "see scripts/postgres-server.sh --help" ;;
  -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
  *) die "unknown argument '${1:-}'" "see scripts/postgres-server.sh --help" ;;
esac
command=$1
[ -d "$2" ] || mkdir -p -m 0700 "$2"
dir=$(cd "$2" && pwd)

as_server=(env LC_ALL=C)
if [ "$(id -u)" -eq 0 ]; then
  group=$(id -gn nobody)
  as_server+=(setpriv --reuid=nobody --regid="$group" --clear-groups)
  chown nobody:"$group" "$dir"
  "${as_server[@]}" test -x "$dir" || die "the user nobody cannot reach '$dir'" "choose a folder below /tmp"
fi
cd "$dir"
# Nothing to stop, and nothing that it would be stopped with.
[ "$command" = start ] || [ -f "$dir/data/postmaster.pid" ] || exit 0

server=$postgres_dir
"${as_server[@]}" test -x "$server/$postgres_bin/postgres" 2>/dev/null || {
  [ -x "$server/$postgres_bin/postgres" ] ||
    die "there is no PostgreSQL server for tests in '$server'" "scripts/setup.sh --tests fetches it"
  # Root's home is closed to others.
  [ -x "$dir/server/$postgres_bin/postgres" ] || cp -r "$server" "$dir/server"
  chmod -R a+rX "$dir/server"
  server=$dir/server
}
bin=$server/$postgres_bin

if [ "$command" = stop ]; then
  "${as_server[@]}" "$bin/pg_ctl" -D "$dir/data" -m immediate -w -s stop >/dev/null
  exit 0
fi

if [ ! -f "$dir/data/PG_VERSION" ]; then
  password=$(od -An -N 16 -t x1 /dev/urandom | tr -d ' \n')
  (umask 077 && printf '%s\n' "$password" >"$dir/password")
  [ "$(id -u)" -ne 0 ] || chown nobody "$dir/password"
  "${as_server[@]}" "$bin/initdb" -D "$dir/data" -U postgres -A scram-sha-256 --pwfile="$dir/password" \
    -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 || {
    cat "$dir/initdb.log" >&2
    die "initdb failed" "its output is above"
  }
  rm -f "$dir/port"
fi

# True once the server answers at port $1.
start_at() {
  "${as_server[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -s -t 60 start >/dev/null 2>&1 </dev/null \
    -o "-p $1 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=200 -c jit=off"
}

if [ -f "$dir/port" ]; then
  port=$(cat "$dir/port")
  "${as_server[@]}" "$bin/pg_ctl" -D "$dir/data" -s status >/dev/null 2>&1 || start_at "$port" ||
    die "the server did not start at port $port" "its log is '$dir/data/server.log'"
else
  started=no
  for _ in 1 2 3 4 5 6 7 8; do
    # PostgreSQL cannot choose a free port; one that somebody else has makes it end at once.
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if start_at "$port"; then
      started=yes
      break
    fi
  done
  [ $started = yes ] || {
    tail -n 20 "$dir/data/server.log" >&2 || true
    die "the server did not start" "the end of its log is above"
  }
  printf '%s\n' "$port" >"$dir/port"
fi
printf 'postgresql://postgres:%s@127.0.0.1:%s/postgres\n' "$(cat "$dir/password")" "$port"
