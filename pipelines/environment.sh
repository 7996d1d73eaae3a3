# What the pipelines agree on: where the plugin and facectl are, and how a pipeline is run. Sourced, never run.
# shellcheck shell=bash

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
export_runtime

# A queue where two elements that compute meet: each gets a thread of its own, two pictures wait at most.
# shellcheck disable=SC2034 # used by the pipelines
pictures=(queue max-size-buffers=2 max-size-bytes=0 max-size-time=0)

# The folder of this checkout's newest build that holds the file $1.
built() {
  local target newest='' profile
  target=$(target_dir)
  for profile in release debug; do
    if [ -e "$target/$profile/$1" ] && { [ -z "$newest" ] || [ "$target/$profile/$1" -nt "$newest/$1" ]; }; then
      newest=$target/$profile
    fi
  done
  [ -n "$newest" ] || die "$1 is not built" "run: cargo build --release"
  printf '%s\n' "$newest"
}

# Without a version gst-inspect-1.0 asks for 1.0 or newer.
plugin_found() { gst-inspect-1.0 --exists --atleast-version=0.0 onnxfacedetect 2>/dev/null; }

# Lets gst-launch-1.0 find the elements: an installed plugin or GST_PLUGIN_PATH first, then this checkout's build.
find_plugin() {
  command -v gst-launch-1.0 >/dev/null || die "gst-launch-1.0 is missing" "run: scripts/setup.sh"
  plugin_found && return
  GST_PLUGIN_PATH=$(built libgstface.so)${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}
  export GST_PLUGIN_PATH
  plugin_found || die "GStreamer does not load $GST_PLUGIN_PATH/libgstface.so"
}

# Sets facectl to the command: $FACECTL, the installed one, or this checkout's build.
find_facectl() {
  local folder
  facectl=${FACECTL:-$(command -v facectl || true)}
  if [ -z "$facectl" ]; then
    folder=$(built facectl)
    facectl=$folder/facectl
  fi
}

# Sets source to what reads $1: a network camera, which is connected to again when it is lost, a camera of this machine, or a
# file. Of the password only the name of its variable is handed on: command lines are no secret.
open_source() {
  case $1 in
    rtsp://* | rtsps://*)
      source=(facecamerasrc uri="$1" latency="${LATENCY:-200}" protocols="${PROTOCOLS:-tcp}" max-retries="${RETRIES:--1}"
        ${CAMERA_USER:+username="$CAMERA_USER"} ${CAMERA_PASSWORD:+password-env=CAMERA_PASSWORD}) ;;
    /dev/*) source=(v4l2src device="$1") ;;
    *)
      [ -f "$1" ] || die "'$1' is neither a file nor a camera"
      # shellcheck disable=SC2034 # used by the pipelines
      source=(filesrc location="$1") ;;
  esac
}

# Runs a pipeline and prints only who was recognised: per message face-identity a line with the name of the element that
# posted it. Errors go to standard error. Ctrl-C ends the stream, so that a file is finished; the filter stays until the
# pipeline has ended.
show_names() {
  print_messages face-identity "" "$@"
}

# The same for other messages: NAME|NAME… PIPELINE…. A line begins with the name of the message.
show_messages() {
  local names=$1
  shift
  print_messages "$names" names "$@"
}

print_messages() {
  local names=$1 named=$2
  shift 2
  gst-launch-1.0 --messages --eos-on-shutdown "$@" | (
    trap '' INT
    exec awk -v pattern=" ($names), " -v named="$named" 'match($0, pattern) {
      message = substr($0, RSTART + 1, RLENGTH - 3); rest = substr($0, RSTART + RLENGTH)
      split($0, quoted, "\""); gsub(/\([a-z0-9]+\)/, "", rest)
      print (named ? message : quoted[2]) ": " rest; fflush()
    }'
  )
}
