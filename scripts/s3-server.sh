#!/usr/bin/env bash
# Starts and stops the S3 servers that the tests of the storage talk to. They listen on loopback only.
#
# usage: scripts/s3-server.sh start s3s|moto FOLDER
#        scripts/s3-server.sh stop FOLDER
#
# start puts the server's files and its log into FOLDER, which is made, takes a free port, and prints the endpoint, such
# as http://127.0.0.1:40123, once the server answers. s3s checks signatures; moto knows every operation and checks
# none. Access key and secret of both are "gst-face-test" and "gst-face-test-secret".
# stop ends the server of FOLDER; its files stay.
#
# Exit status: 0; 3 when the server is not installed (scripts/setup.sh --tests installs both); 1 for anything else.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# True once something accepts connections on port $1.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

missing() {
  printf '%s is not installed: scripts/setup.sh --tests installs it\n' "$1" >&2
  exit 3
}

start() {
  local kind=$1 folder=$2 port command tries
  case $kind in
    s3s) [ -x "$s3s_server" ] || missing "s3s-fs" ;;
    moto) [ -x "$moto_server" ] || missing "moto" ;;
    *) die "unknown server '$kind'" "see scripts/s3-server.sh --help" ;;
  esac
  mkdir -p "$folder/objects"
  [ ! -f "$folder/pid" ] || die "'$folder' has a server already" "stop it first: scripts/s3-server.sh stop '$folder'"
  # Between looking for a free port and taking it somebody else may: then the next one is tried.
  for tries in 1 2 3; do
    port=$(free_port)
    case $kind in
      s3s)
        command=("$s3s_server" --host 127.0.0.1 --port "$port"
          --access-key "$s3_test_key" --secret-key "$s3_test_secret" "$folder/objects") ;;
      moto) command=("$moto_server" -H 127.0.0.1 -p "$port") ;;
    esac
    "${command[@]}" >"$folder/log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    if wait_for "$port" "$(cat "$folder/pid")"; then
      disown
      printf 'http://127.0.0.1:%s\n' "$port"
      return
    fi
    stop "$folder"
  done
  tail -n 5 "$folder/log" >&2
  die "$kind did not start" "its last lines are above"
}

# Waits until port $1 answers; false when process $2 ends before that, or after 30 s.
wait_for() {
  local deadline=$((SECONDS + 30))
  while [ $SECONDS -lt $deadline ]; do
    kill -0 "$2" 2>/dev/null || return 1
    if answers "$1"; then return 0; fi
    sleep 0.1
  done
  return 1
}

stop() {
  local folder=$1 pid
  [ -f "$folder/pid" ] || return 0
  pid=$(cat "$folder/pid")
  rm -f "$folder/pid"
  kill "$pid" 2>/dev/null || return 0
  local deadline=$((SECONDS + 5))
  while kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
}

case ${1:-} in
  -h | --help) print_help "${BASH_SOURCE[0]}" ;;
  start) [ $# -eq 3 ] || die "start needs a server and a folder" "see scripts/s3-server.sh --help"; start "$2" "$3" ;;
  stop) [ $# -eq 2 ] || die "stop needs a folder" "see scripts/s3-server.sh --help"; stop "$2" ;;
  *) die "start or stop is needed" "see scripts/s3-server.sh --help" ;;
esac
