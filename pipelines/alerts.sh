#!/usr/bin/env bash
# Prints who comes and who goes: one line per alert, once the identity is confirmed, and one per track that has ended.
# Nothing is shown or stored. Ctrl-C ends it.
#
# usage: pipelines/alerts.sh SOURCE
#
#   SOURCE  rtsp://HOST/PATH, a camera (/dev/video0) or a video file
#
# Environment:
#   GALLERY  people to recognise, as pipelines/enrol.sh makes it; without it everybody is unknown
#   MODE     about whom: all, knowns, unknowns or none (default all)
#   RULES    a JSON file with rules about people, groups, zones and events (docs/alerts.md)
#   CAMERA   name of the camera in the messages (default: SOURCE)
#   ZONES    zones of the picture, as the property zones of facetrack has them
#   DRY_RUN  true: alerts are marked dry-run and stand in no metadata (default false)
#   LATENCY  how long packets of a network camera may be late, in milliseconds (default 200)
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -eq 1 ] || die "one camera or video is needed" "see pipelines/alerts.sh --help"
find_plugin
open_source "$1"

show_messages "face-alert|face-track" \
  "${source[@]}" ! decodebin ! "${pictures[@]}" ! videoconvert ! onnxfacedetect \
  ! "${pictures[@]}" ! facetrack ${ZONES:+zones="$ZONES"} \
  ! facerecognize name=alerts camera="${CAMERA:-$1}" ${GALLERY:+gallery="$GALLERY"} alert-mode="${MODE:-all}" \
  ${RULES:+alert-rules="$RULES"} dry-run="${DRY_RUN:-false}" \
  ! fakesink sync=false
