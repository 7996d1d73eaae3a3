#!/usr/bin/env bash
# Carries a folder of large files, such as ONNX Runtime with CUDA, to another machine in small parts.
#
# usage: scripts/carry.sh split FOLDER PARTS    writes FOLDER as files of at most 60 MiB into the new folder PARTS
#        scripts/carry.sh join PARTS FOLDER     checks them and makes the new folder FOLDER of them
#
# PARTS also holds this script, so that the other machine needs nothing else but bash, tar, gzip and coreutils. Links stay links.
# A part that is missing or damaged is named, and nothing is made of the rest.
set -euo pipefail

die() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

new() { [ ! -e "$1" ] || die "'$1' is there already: name a folder that is not"; }

split_folder() {
  local folder=$1 parts=$2
  [ -d "$folder" ] || die "there is no folder '$folder'"
  new "$parts"
  mkdir -p "$parts"
  tar -C "$folder" -cf - . | gzip -1 | split -b 60M -d -a 3 - "$parts/part."
  (cd "$parts" && sha256sum part.* >SHA256SUMS)
  cp "${BASH_SOURCE[0]}" "$parts/carry.sh"
  printf '%s: %s parts\n' "$parts" "$(wc -l <"$parts/SHA256SUMS")"
}

join_parts() {
  local parts=$1 folder=$2
  [ -f "$parts/SHA256SUMS" ] || die "'$parts' holds no parts: there is no SHA256SUMS in it"
  new "$folder"
  (cd "$parts" && sha256sum --check --quiet --strict SHA256SUMS) || die "parts are missing or damaged: copy them again"
  joining=$folder.joining
  mkdir -p "$joining"
  trap 'rm -rf "$joining"' EXIT
  # By the list, in its order: what else lies there does not count.
  (cd "$parts" && awk '{ print $2 }' SHA256SUMS | xargs cat) | gzip -d | tar -C "$joining" -xf -
  mv -T "$joining" "$folder"
  trap - EXIT
  printf '%s: complete\n' "$folder"
}

case ${1:-} in
  split) [ $# -eq 3 ] || die "usage: carry.sh split FOLDER PARTS"; split_folder "$2" "$3" ;;
  join) [ $# -eq 3 ] || die "usage: carry.sh join PARTS FOLDER"; join_parts "$2" "$3" ;;
  -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "${BASH_SOURCE[0]}" ;;
  *) die "say split or join; see carry.sh --help" ;;
esac
