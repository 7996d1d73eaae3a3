#!/usr/bin/env bash
# Lets cameras run and fail for a while, and measures what becomes of it. GStreamer's RTSP server stands for the cameras, on
# loopback and on the same machine: what serving costs is missing from the figures.
#
# usage: scripts/soak.sh [--restarts N]
#        scripts/soak.sh --cameras N [--minutes M | --seconds S] [CLIP…]
#
#   --restarts N  kills and restarts a camera N times (default 50) at random moments, always the same ones: how long until its
#                 pictures are back, are people known again, are threads and files left over
#   --cameras N   lets facectl run follow N cameras, which show clips again and again, for M minutes (default 15): looks per
#                 second of each, delay, processor time, memory. Prints a table for docs/performance.md
#   CLIP          H.264 video files that the cameras show in turn (default: those of the tests)
#
# Environment:
#   FACECTL  another facectl than the newest build of this checkout; for figures it should be a release build
#   GALLERY  people to recognise; without it everybody is unknown
#
# Exit status: 0; 1 if something is not as docs/performance.md says that it must be (--restarts), or a camera was lost
# (--cameras).
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../pipelines/environment.sh"

restarts=50 cameras= seconds=900 clips=()
number() { case ${2:-} in '' | *[!0-9]*) die "$1 needs a number" "see scripts/soak.sh --help" ;; esac; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
    --restarts) number "$1" "${2:-}"; restarts=$2; shift 2 ;;
    --cameras) number "$1" "${2:-}"; cameras=$2; shift 2 ;;
    --minutes) number "$1" "${2:-}"; seconds=$(($2 * 60)); shift 2 ;;
    --seconds) number "$1" "${2:-}"; seconds=$2; shift 2 ;;
    -*) die "unknown argument '$1'" "see scripts/soak.sh --help" ;;
    *) [ -f "$1" ] || die "there is no clip '$1'"; clips+=("$1"); shift ;;
  esac
done

if [ -z "$cameras" ]; then
  cd "$root"
  GST_FACE_RESTARTS=$restarts GST_FACE_RECONNECT_MS=2000 \
    exec cargo nextest run --locked -p gst-plugin-face -p facectl --no-capture -E 'test(restarted)'
fi

find_facectl
find_plugin
if [ ${#clips[@]} -eq 0 ]; then
  for clip in "${GST_FACE_TEST_MEDIA:-$shared_media}"/video/*.mp4; do
    [ ! -f "$clip" ] || clips+=("$clip")
  done
  [ ${#clips[@]} -gt 0 ] || die "there are no clips" "name some, or set GST_FACE_TEST_MEDIA"
fi
exec /usr/bin/python3 "$root/scripts/soak.py" "$facectl" "$cameras" "$seconds" "${GALLERY:-}" "${clips[@]}"
