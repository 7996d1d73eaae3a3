#!/usr/bin/env bash
# Keeps a clip of everybody who is recognised: the camera's own video, not encoded again, from 5 s before to 5 s after,
# with a JSON file and a picture of the face beside it. Ctrl-C ends it; what is not stored then is at the next start.
#
# usage: pipelines/clips.sh SOURCE STORAGE
#
#   SOURCE   rtsp://HOST/PATH or a video file, of H.264 or H.265
#   STORAGE  a folder, or s3://BUCKET/PREFIX?endpoint=… (docs/clips.md)
#
# Environment:
#   GALLERY   people to recognise, as pipelines/enrol.sh makes it; without it everybody is unknown
#   TRIGGERS  kinds of events that make clips, joined by + (default known-face)
#   CAMERA    name of the camera in keys and messages (default: camera)
#   WEBHOOK   https:// address that is told of every event, and of every stored clip with a link to it
#   SPOOL     folder for clips until they are stored (default: what GST_FACE_SPOOL says, else in the user's state)
#   CAMERA_USER, CAMERA_PASSWORD, LATENCY, PROTOCOLS, RETRIES
#             of a network camera, as in pipelines/rtsp-to-screen.sh
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -eq 2 ] || die "a camera or video and a storage are needed" "see pipelines/clips.sh --help"
find_plugin
open_source "$1"

# One branch is kept as it is, the other is looked at; clipsink matches them by their times.
show_messages "clip-spooled|clip-stored|clip-failed" \
  "${source[@]}" ! parsebin ! "video/x-h264;video/x-h265" ! tee name=camera \
  camera. ! queue ! clips.sink \
  camera. ! queue ! decodebin ! "${pictures[@]}" ! videoconvert ! onnxfacedetect \
  ! "${pictures[@]}" ! facetrack ! facerecognize ${GALLERY:+gallery="$GALLERY"} camera="${CAMERA:-camera}" ! clips.meta \
  clipsink name=clips storage="$2" camera="${CAMERA:-camera}" triggers="${TRIGGERS:-known-face}" \
  ${SPOOL:+spool="$SPOOL"} ${WEBHOOK:+webhook="$WEBHOOK"}
