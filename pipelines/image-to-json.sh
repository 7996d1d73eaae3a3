#!/usr/bin/env bash
# Prints who is in pictures: one line of JSON per picture.
#
# usage: pipelines/image-to-json.sh GALLERY IMAGE…
#
# GALLERY is what pipelines/enrol.sh makes. A line holds the file, its size, and per face box, score, landmarks,
# status, name and similarity (README.md, "facectl").
#
# Environment:
#   FACECTL  another facectl than the installed one or the one built here
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -ge 2 ] || die "a gallery and at least one picture are needed" "see pipelines/image-to-json.sh --help"
gallery=$1
shift
find_facectl
exec "$facectl" recognize --gallery "$gallery" --json -- "$@"
