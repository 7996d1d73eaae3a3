#!/usr/bin/env bash
# Names the people in a video: sets everything up, enrols, analyses, prints who was seen when.
#
# usage: scripts/demo.sh [--out DIR] [VIDEO] [PEOPLE_DIR]
#
#   VIDEO       any video GStreamer plays; without it a small clip is used, or fetched (CC BY 4.0, a few MB)
#   PEOPLE_DIR  one folder of photos per person: PEOPLE_DIR/NAME/*.jpg or *.png; without it the people of the first
#               part of the video are enrolled as person-1, person-2, … and recognised in the rest
#   --out DIR   where annotated.mp4 and analysis.json go; the current folder if not given
#   --help      this text
#
# facectl is built without long optimisation (its dependencies are optimised), which takes a third of the time of a
# release build; where a release build exists already, that one is brought up to date and used. The gallery lives in a
# temporary folder and is deleted at the end: faces are biometric data.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Intel's sample videos, CC BY 4.0, by commit. The commit's own tree gives the file's git object id, which is what the
# fetched file is checked against; the address itself could not be tried where this was written.
clip_name=face-demographics-walking-and-pause.mp4
clip_address=https://github.com/intel-iot-devkit/sample-videos/raw/57978890822836f2b4743852f04f62fc511757e4/$clip_name
clip_git_id=454d5c481cefd85d7fffc12fe8089584392f2a6f

out=. arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
    --out) [ $# -ge 2 ] || die "--out needs a folder"; out=$2; shift ;;
    --out=*) out=${1#*=} ;;
    --) shift; arguments+=("$@"); break ;;
    -*) die "unknown option '$1'" "see scripts/demo.sh --help" ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
[ ${#arguments[@]} -le 2 ] || die "too many arguments: ${arguments[*]}" "see scripts/demo.sh --help"
video=${arguments[0]:-} people=${arguments[1]:-}

# Wrong arguments are told before minutes of building.
[ -z "$video" ] || [ -f "$video" ] || die "no video '$video'"
[ -z "$people" ] || [ -d "$people" ] || die "no folder '$people'" "it holds one folder of photos per person"
mkdir -p "$out" || die "cannot make the folder '$out'"
[ -w "$out" ] || die "cannot write into '$out'" "give another folder with --out"

git_id() { { printf 'blob %s\0' "$(stat -L -c %s "$1")"; cat "$1"; } | sha1sum | cut -d ' ' -f 1; }

fetch_clip() {
  local clip=$cache_dir/$clip_name partial
  if [ ! -f "$clip" ] || [ "$(git_id "$clip")" != "$clip_git_id" ]; then
    say "fetching $clip_address"
    mkdir -p "$cache_dir"
    partial=$clip.partial
    curl --fail --silent --show-error --location --retry 3 --max-time 600 --output "$partial" "$clip_address" ||
      die "could not fetch the demonstration clip" "give a video of your own: scripts/demo.sh VIDEO [PEOPLE_DIR]"
    [ "$(git_id "$partial")" = "$clip_git_id" ] || {
      rm -f "$partial"
      die "the fetched clip is not the expected file" "give a video of your own: scripts/demo.sh VIDEO [PEOPLE_DIR]"
    }
    mv -f "$partial" "$clip"
  fi
  video=$clip
  say "$clip (Intel Corporation, CC BY 4.0)"
}

build_facectl() {
  step "facectl"
  local target profile=dev
  target=$(target_dir)
  facectl=$target/debug/facectl
  if [ -x "$target/release/facectl" ]; then
    profile=release facectl=$target/release/facectl
  else
    say "the first build takes some minutes"
  fi
  cargo build --locked --manifest-path "$root/Cargo.toml" --profile "$profile" -p facectl </dev/null
}

"$root/scripts/setup.sh"
build_facectl
export_runtime

step "Video"
if [ -n "$video" ]; then
  say "$video"
elif [ -f "$shared_media/video/short_hamilton_clip.mp4" ] && [ -d "$shared_media/people" ]; then
  video=$shared_media/video/short_hamilton_clip.mp4 people=$shared_media/people
  say "$video"
else
  fetch_clip
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
gallery=$scratch/gallery.db
step "Enrolment"
if [ -n "$people" ]; then
  # One bad photo is told in the list and does not end the demonstration; a gallery without anybody would.
  "$facectl" enroll --gallery "$gallery" "$people" </dev/null || enrolled=$?
  [ -e "$gallery" ] || exit "${enrolled:-1}"
else
  "$facectl" enroll --gallery "$gallery" --from-video "$video" </dev/null
fi

step "Analysis"
"$facectl" analyze --gallery "$gallery" --annotate "$out/annotated.mp4" --json "$out/analysis.json" "$video" </dev/null
step "Done"
say "annotated video  $out/annotated.mp4"
say "analysis         $out/analysis.json"
