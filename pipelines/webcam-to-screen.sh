#!/usr/bin/env bash
# Shows a webcam with boxes and names, and prints who comes. Ctrl-C ends it.
#
# usage: pipelines/webcam-to-screen.sh
#
# Environment:
#   GALLERY   people to recognise, as pipelines/enrol.sh makes it; without it faces are found and followed only
#   DEVICE    camera (default /dev/video0)
#   SOURCE    another source than a camera, as gst-launch-1.0 takes it (default "v4l2src device=$DEVICE")
#   SINK      another sink than a window (default "autovideosink")
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in
  "") ;;
  -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
  *) die "unknown argument '$1'" "see pipelines/webcam-to-screen.sh --help" ;;
esac
find_plugin
read -ra source <<<"${SOURCE:-v4l2src device=${DEVICE:-/dev/video0}}"
read -ra sink <<<"${SINK:-autovideosink}"

# decodebin, since many cameras send JPEG. The first queue lets go of the oldest picture, so that the camera never
# waits; what comes late after that passes without having been looked at.
show_names \
  "${source[@]}" ! decodebin ! "${pictures[@]}" leaky=downstream ! videoconvert ! onnxfacedetect \
  ! "${pictures[@]}" ! facetrack ! facerecognize name=camera ${GALLERY:+gallery="$GALLERY"} \
  ! faceannotate ! videoconvert ! "${sink[@]}"
