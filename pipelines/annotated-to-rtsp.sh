#!/usr/bin/env bash
# Sends a camera with boxes and names drawn into it to an RTSP server, from which any player or recorder takes it as a
# camera, and prints who comes. Ctrl-C ends it.
#
# usage: pipelines/annotated-to-rtsp.sh SOURCE rtsp://SERVER/PATH
#
#   SOURCE  rtsp://HOST/PATH, a camera (/dev/video0) or a video file, which is shown in its own time
#   SERVER  one that takes streams (RTSP RECORD), MediaMTX for instance. facectl run is a server itself (docs/cameras.md)
#
# Environment:
#   GALLERY    people to recognise, as pipelines/enrol.sh makes it; without it faces are found and followed only
#   BITRATE    of what is sent, in kbit/s (default 2000)
#   CAMERA_USER, CAMERA_PASSWORD, LATENCY, PROTOCOLS, RETRIES
#              of a network camera, as in pipelines/rtsp-to-screen.sh
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -eq 2 ] || die "a camera and a server are needed" "see pipelines/annotated-to-rtsp.sh --help"
case $2 in rtsp://* | rtsps://*) ;; *) die "'$2' is no address of a server" "it begins with rtsp://" ;; esac
find_plugin
open_source "$1"
# A file must not be sent faster than it is played.
[ "${source[0]}" != filesrc ] || source=(facecamerasrc uri="$1")

# A key picture a second: a player that comes later waits for one.
show_names \
  "${source[@]}" ! decodebin ! "${pictures[@]}" leaky=downstream ! videoconvert ! onnxfacedetect \
  ! "${pictures[@]}" ! facetrack ! facerecognize name=camera ${GALLERY:+gallery="$GALLERY"} \
  ! faceannotate ! videoconvert ! video/x-raw,format=I420 \
  ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate="${BITRATE:-2000}" \
  ! h264parse ! rtspclientsink location="$2" protocols=tcp
