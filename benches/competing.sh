#!/usr/bin/env bash
# How much of its speed an analysis keeps beside busy processes.
#
# usage: benches/competing.sh [--rounds N] [--busy N] [--peer SCRIPT] [VIDEO]
#
# Each round takes the time of the analysis alone, and then beside N processes that only compute (4), so that a machine that
# gets slower in between slows both. Prints the medians over the rounds (5) and what is kept: time alone / time beside.
# With --peer (or GST_FACE_PEER), a Python script that takes VIDEO and the folder of models, the same is measured of it
# in the same rounds. The time includes the start of the program. Anything else that runs on the machine spoils the
# figures: the load average is printed.
#
# Environment: FACECTL (the program; the release build of this checkout if absent), GST_FACE_TEST_PYTHON, GST_FACE_MODEL_PATH,
# GST_FACE_TEST_MEDIA.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
export_runtime
# Times and figures with points, whatever the language.
export LC_ALL=C

rounds=5 busy=4 peer=${GST_FACE_PEER:-} video=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    --busy) busy=${2:?--busy needs a number}; shift 2 ;;
    --peer) peer=${2:?--peer needs a file}; shift 2 ;;
    -*) die "unknown argument '$1'" "see benches/competing.sh --help" ;;
    *) video=$1; shift ;;
  esac
done
facectl=${FACECTL:-$(target_dir)/release/facectl}
[ -x "$facectl" ] || die "no program '$facectl'" "build it with cargo build --release -p facectl, or set FACECTL"
video=${video:-${GST_FACE_TEST_MEDIA:-$shared_media}/video/short_hamilton_clip.mp4}
[ -r "$video" ] || die "cannot read '$video'" "name a video, or set GST_FACE_TEST_MEDIA"
python=${GST_FACE_TEST_PYTHON:-$test_python}
models=${GST_FACE_MODEL_PATH:-$shared_models}
exec </dev/null

loops=()
stop_loops() {
  [ ${#loops[@]} -eq 0 ] || kill "${loops[@]}" 2>/dev/null || true
  [ ${#loops[@]} -eq 0 ] || wait "${loops[@]}" 2>/dev/null || true
  loops=()
}
trap stop_loops EXIT
start_loops() {
  local i
  for ((i = 0; i < busy; i++)); do
    (while :; do :; done) &
    loops+=($!)
  done
}

ours() { "$facectl" analyze --every-face --detector yunet_2023mar --provider cpu "$video" >/dev/null; }
theirs() { "$python" "$peer" "$video" "$models" >/dev/null; }

# seconds COMMAND: how long it takes.
seconds() {
  local start=$EPOCHREALTIME
  "$@" || die "$1 failed"
  awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", b - a }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { m = int((NR + 1) / 2); print NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2 }'; }

# measure NAME: one round of it; the times are kept in files.
times=$(mktemp -d)
trap 'stop_loops; rm -rf "$times"' EXIT
measure() {
  local alone beside
  alone=$(seconds "$1")
  start_loops
  beside=$(seconds "$1")
  stop_loops
  echo "$alone" >>"$times/$1.alone"
  echo "$beside" >>"$times/$1.beside"
  awk -v a="$alone" -v b="$beside" 'BEGIN { print a / b }' >>"$times/$1.kept"
}

report() {
  printf '%-8s alone %6.2f s, beside %s busy processes %6.2f s, kept %.3f (%.3f to %.3f)\n' "$1" \
    "$(median <"$times/$1.alone")" "$busy" "$(median <"$times/$1.beside")" "$(median <"$times/$1.kept")" \
    "$(sort -n "$times/$1.kept" | head -n 1)" "$(sort -n "$times/$1.kept" | tail -n 1)"
}

printf '%s cores, load average %s, %s rounds, %s\n' "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$rounds" "$(basename "$video")"
for ((round = 0; round < rounds; round++)); do
  measure ours
  [ -z "$peer" ] || measure theirs
done
report ours
[ -z "$peer" ] || report theirs
