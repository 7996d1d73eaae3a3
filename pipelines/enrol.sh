#!/usr/bin/env bash
# Enrols people from photos into a gallery, which is made if it is not there.
#
# usage: pipelines/enrol.sh GALLERY PEOPLE_DIR
#        pipelines/enrol.sh GALLERY NAME IMAGE…
#
#   PEOPLE_DIR  one folder of photos per person: PEOPLE_DIR/NAME/*.jpg or *.png
#   NAME        the name of the one person in the pictures IMAGE…
#
# A gallery holds biometric data: it is made readable by its owner alone. A running pipeline sees new people within
# the reload-interval of facerecognize.
#
# Environment:
#   FACECTL  another facectl than the installed one or the one built here
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -ge 2 ] || die "a gallery and photos are needed" "see pipelines/enrol.sh --help"
gallery=$1
shift
find_facectl
if [ $# -eq 1 ]; then
  [ -d "$1" ] || die "no folder '$1'" "it holds one folder of photos per person"
  exec "$facectl" enroll --gallery "$gallery" "$1"
fi
name=$1
shift
exec "$facectl" enroll --gallery "$gallery" --name "$name" -- "$@"
