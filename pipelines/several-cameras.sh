#!/usr/bin/env bash
# Shows several cameras with boxes and names, one window each, in one process, and prints who comes to which of them:
# camera-1 is the first one named, and so on. Ctrl-C ends it.
#
# usage: pipelines/several-cameras.sh SOURCE SOURCE…
#
#   SOURCE  rtsp://HOST/PATH, a camera (/dev/video0) or a video file
#
# All cameras share one pool of inference threads per model, one thread per core, and one copy of each model.
#
# Environment:
#   GALLERY   people to recognise, as pipelines/enrol.sh makes it; without it faces are found and followed only
#   INTERVAL  look at every n-th frame of each camera (default auto: as many of all cameras as 80 % of the processors
#             allow, alike; of a video file every second one above 20 frames per second, else every one)
#   CAMERA_USER, CAMERA_PASSWORD, LATENCY, PROTOCOLS, RETRIES
#             of all network cameras, as in pipelines/rtsp-to-screen.sh
#   SINK      another sink than a window (default "autovideosink")
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -ge 1 ] || die "at least one camera is needed" "see pipelines/several-cameras.sh --help"
find_plugin
read -ra sink <<<"${SINK:-autovideosink}"

# Every camera is a branch of its own, joined with nothing: a network camera that is lost stops only itself, and is
# connected to again. An error of another one ends all.
branches=() number=0
for camera in "$@"; do
  number=$((number + 1))
  open_source "$camera"
  branches+=("${source[@]}" ! decodebin ! "${pictures[@]}" ! videoconvert
    ! onnxfacedetect interval="${INTERVAL:-auto}"
    ! "${pictures[@]}" ! facetrack ! facerecognize name="camera-$number" ${GALLERY:+gallery="$GALLERY"}
    ! faceannotate ! videoconvert ! "${sink[@]}")
done
show_names "${branches[@]}"
