#!/usr/bin/env bash
# Draws boxes and names into a copy of a video file. The sound is kept.
#
# usage: pipelines/file-to-annotated-file.sh VIDEO OUT.mp4
#
# Environment:
#   GALLERY   people to recognise, as pipelines/enrol.sh makes it; without it faces are found and followed only
#   BITRATE   of the copy in kbit/s (default 4000)
#   INTERVAL  look at every n-th frame (default: every second one above 20 frames per second, else every one)
#
# facectl analyze does the same with a progress bar, and writes down who was seen when.
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -eq 2 ] || die "a video and the name of the copy are needed" "see pipelines/file-to-annotated-file.sh --help"
video=$1 copy=$2
[ -f "$video" ] || die "no video '$video'"
[ ! "$video" -ef "$copy" ] || die "'$copy' is the video itself"
find_plugin

# A muxer waits for every stream it was promised: whether there is sound is asked first.
sound=()
if gst-launch-1.0 -q filesrc location="$video" ! decodebin expose-all-streams=false caps=audio/x-raw \
  ! fakesink num-buffers=1 >/dev/null 2>&1; then
  sound=(decoded. ! queue max-size-time=5000000000 max-size-bytes=0 max-size-buffers=0
    ! audioconvert ! audioresample ! avenc_aac ! mux.)
fi

# What a phone recorded sideways is turned upright, since faces are looked for upright. The encoder looks ahead by some
# frames; the muxer's queue holds as much sound meanwhile. Written aside and renamed, so that what has the final name
# is whole.
partial=$copy.partial
trap 'rm -f "$partial"' EXIT
show_names \
  filesrc location="$video" ! decodebin name=decoded \
  decoded. ! "${pictures[@]}" ! videoconvert ! videoflip video-direction=auto \
  ! onnxfacedetect interval="${INTERVAL:-default}" \
  ! "${pictures[@]}" ! facetrack ! facerecognize name=video ${GALLERY:+gallery="$GALLERY"} \
  ! "${pictures[@]}" ! faceannotate ! videoconvert \
  ! x264enc speed-preset=veryfast bitrate="${BITRATE:-4000}" ! h264parse \
  ! queue max-size-time=5000000000 max-size-bytes=0 max-size-buffers=0 ! mp4mux name=mux \
  ! filesink location="$partial" \
  "${sound[@]}"
mv -f "$partial" "$copy"
