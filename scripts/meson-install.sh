#!/usr/bin/env bash
# Called by meson.build when it installs: copies the manual pages and completions, whose names only facectl knows.
#
# usage: meson-install.sh SHARE_DIR DATADIR    (with meson's MESON_INSTALL_DESTDIR_PREFIX)
set -euo pipefail
share=$1 datadir=$2
case $datadir in
  /*) target=${DESTDIR:-}$datadir ;;
  *) target=$MESON_INSTALL_DESTDIR_PREFIX/$datadir ;;
esac
cd "$share"
find . -type f -exec install -D -m 644 {} "$target/{}" \;
