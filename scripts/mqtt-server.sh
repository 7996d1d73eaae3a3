#!/usr/bin/env bash
# Starts and stops the MQTT broker that the tests of publishing talk to: Mosquitto, on loopback only.
#
# usage: scripts/mqtt-server.sh start FOLDER [PORT TLS_PORT PASSWORD_PORT]
#        scripts/mqtt-server.sh stop FOLDER
#
# start puts the broker's configuration, its files and its log into FOLDER, which is made, and prints one line once the
# broker answers:
#
#   plain=mqtt://127.0.0.1:40123 tls=mqtts://127.0.0.1:40124 password=mqtt://127.0.0.1:40125
#
# The ports are free ones, or those that are named: the same after a restart. The certificate is that of tests/data/tls.
# User and password of the last one are "gst-face-test" and "gst-face-test-password"; the others take anybody.
# stop ends the broker of FOLDER; its files stay.
#
# Exit status: 0; 3 when Mosquitto is not installed (scripts/setup.sh --tests installs it); 1 for anything else.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Debian keeps it where only root looks.
PATH=$PATH:/usr/sbin

free_ports() {
  /usr/bin/python3 -c 'import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))'
}

# True once something accepts connections on port $1.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Writes the configuration into folder $1, with ports $2, $3 and $4.
configure() {
  local tls=$root/tests/data/tls
  rm -f "$1/passwords"
  mosquitto_passwd -c -b "$1/passwords" gst-face-test gst-face-test-password 2>/dev/null
  cat >"$1/mosquitto.conf" <<CONF
per_listener_settings true
# Started by root it would become a user who cannot read these files.
user $(id -un)
persistence false
# Otherwise it keeps none of what it is sent while nobody reads.
max_queued_messages 100000
listener $2 127.0.0.1
allow_anonymous true
listener $3 127.0.0.1
allow_anonymous true
certfile $tls/server.pem
keyfile $tls/server.key
listener $4 127.0.0.1
allow_anonymous false
password_file $1/passwords
CONF
}

start() {
  local folder=$1 ports tries
  shift
  command -v mosquitto >/dev/null && command -v mosquitto_passwd >/dev/null || {
    printf 'mosquitto is not installed: scripts/setup.sh --tests installs it\n' >&2
    exit 3
  }
  mkdir -p "$folder"
  [ ! -f "$folder/pid" ] || die "'$folder' has a broker already" "stop it first: scripts/mqtt-server.sh stop '$folder'"
  # Between looking for free ports and taking them somebody else may: then the next ones are tried.
  for tries in 1 2 3; do
    if [ $# -eq 3 ]; then ports=("$@"); else read -r -a ports < <(free_ports); fi
    configure "$folder" "${ports[@]}"
    mosquitto -c "$folder/mosquitto.conf" >>"$folder/log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    if wait_for "${ports[2]}" "$(cat "$folder/pid")"; then
      disown
      printf 'plain=mqtt://127.0.0.1:%s tls=mqtts://127.0.0.1:%s password=mqtt://127.0.0.1:%s\n' "${ports[@]}"
      return
    fi
    stop "$folder"
  done
  tail -n 5 "$folder/log" >&2
  die "mosquitto did not start" "its last lines are above"
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
  start)
    [ $# -eq 2 ] || [ $# -eq 5 ] || die "start needs a folder, and all ports or none" "see scripts/mqtt-server.sh --help"
    start "${@:2}" ;;
  stop) [ $# -eq 2 ] || die "stop needs a folder" "see scripts/mqtt-server.sh --help"; stop "$2" ;;
  *) die "start or stop is needed" "see scripts/mqtt-server.sh --help" ;;
esac
