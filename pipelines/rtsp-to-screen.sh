#!/usr/bin/env bash
# Shows a network camera with boxes and names, and prints who comes. A camera that is lost is connected to again.
# Ctrl-C ends it.
#
# usage: pipelines/rtsp-to-screen.sh rtsp://HOST/PATH
#
# Environment:
#   GALLERY    people to recognise, as pipelines/enrol.sh makes it; without it faces are found and followed only
#   CAMERA_USER, CAMERA_PASSWORD
#              what the camera asks for; the password stays in the environment
#   LATENCY    how long packets may be late, in milliseconds (default 200)
#   PROTOCOLS  tcp, udp or auto (default tcp: no packet is lost on the way)
#   RETRIES    how often a camera that is lost is tried before that is an error (default -1: for ever)
#   SINK       another sink than a window (default "autovideosink")
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -eq 1 ] || die "the address of a camera is needed" "see pipelines/rtsp-to-screen.sh --help"
case $1 in rtsp://* | rtsps://*) ;; *) die "'$1' is no address of a camera" "it begins with rtsp://" ;; esac
find_plugin
open_source "$1"
read -ra sink <<<"${SINK:-autovideosink}"

# The first queue lets go of the oldest picture, so that the delay does not grow when the machine is too slow.
show_names \
  "${source[@]}" ! decodebin ! "${pictures[@]}" leaky=downstream ! videoconvert ! onnxfacedetect \
  ! "${pictures[@]}" ! facetrack ! facerecognize name=camera ${GALLERY:+gallery="$GALLERY"} \
  ! faceannotate ! videoconvert ! "${sink[@]}"
