#!/usr/bin/env bash
# Makes a Debian package of plugin, facectl, manual pages, completions, systemd unit and documentation.
#
# usage: scripts/package.sh [--profile dev] [--output FOLDER]
#
#   --profile  cargo's: release (the default, minutes) or dev (to try the packaging)
#   --output   folder for the .deb [default: build-deb]
#
# It runs on the oldest system that the package is for: what it depends on is read from the libraries of this one. Needs
# what scripts/setup.sh installs, and meson, ninja-build and dpkg-dev.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

profile=release output=$root/build-deb
while [ $# -gt 0 ]; do
  case $1 in
    --profile) profile=${2:?--profile needs a value}; shift ;;
    --output) output=${2:?--output needs a value}; shift ;;
    -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown argument '$1'" "see scripts/package.sh --help" ;;
  esac
  shift
done
for tool in meson ninja dpkg-deb dpkg-shlibdeps strip; do
  command -v "$tool" >/dev/null || die "$tool is missing" "run as root: apt-get install meson ninja-build dpkg-dev binutils"
done

name=gst-face
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
architecture=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
# Files made now have the time of the last commit: the same source makes the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/Cargo.toml")}
export SOURCE_DATE_EPOCH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
stage=$scratch/stage

build() {
  step "Build ($profile)"
  mkdir -p "$output"
  local build=$output/meson options=(-Dprofile="$profile" -Dprefix=/usr -Dlibdir="lib/$multiarch" -Dbindir=bin -Ddatadir=share)
  if [ -d "$build/meson-private" ]; then meson configure "$build" "${options[@]}"; else meson setup "$build" "$root" "${options[@]}"; fi
  DESTDIR=$stage meson install -C "$build" --quiet
}

# Debian's places and forms: stripped, pages compressed, completions of zsh elsewhere.
shape() {
  step "Files"
  local doc=$stage/usr/share/doc/$name
  strip --strip-unneeded "$stage/usr/bin/facectl" "$stage/usr/lib/$multiarch/gstreamer-1.0/libgstface.so"
  install -d "$stage/usr/share/zsh/vendor-completions" "$stage/etc/gst-face" "$stage/usr/share/$name/scripts"
  mv "$stage/usr/share/zsh/site-functions/_facectl" "$stage/usr/share/zsh/vendor-completions/"
  rmdir "$stage/usr/share/zsh/site-functions"
  # They fetch ONNX Runtime, which Debian 12 does not have.
  install -m 755 "$root/scripts/setup.sh" "$stage/usr/share/$name/scripts/"
  install -m 644 "$root/scripts/environment.sh" "$root/scripts/note-runtime.py" "$stage/usr/share/$name/scripts/"
  copyright >"$doc/copyright"
  changelog | gzip -9n >"$doc/changelog.gz"
  find "$stage/usr/share/man" -name '*.1' -exec gzip -9n {} +
  chmod -R u=rwX,go=rX "$stage"
  find "$stage" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

copyright() {
  cat <<EOF
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: gst-plugin-face
Source: https://github.com/gst-face/gst-face

Files: *
Copyright: the authors of gst-plugin-face
License: MIT or Apache-2.0

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

License: MIT
$(sed 's/^$/./; s/^/ /' "$root/LICENSE-MIT")
EOF
}

changelog() {
  cat <<EOF
$name ($version) unstable; urgency=medium

  * See CHANGELOG.md of the project.

 -- The authors of gst-plugin-face <gst-face@localhost>  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
EOF
}

# The packages of the libraries that both files are linked with.
shared_libraries() {
  mkdir -p "$scratch/shlibs/debian"
  printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' "$name" "$name" >"$scratch/shlibs/debian/control"
  (cd "$scratch/shlibs" && dpkg-shlibdeps -O "$stage/usr/bin/facectl" "$stage/usr/lib/$multiarch/gstreamer-1.0/libgstface.so") |
    sed -n 's/^shlibs:Depends=//p'
}

control() {
  local depends
  depends=$(shared_libraries)
  [ -n "$depends" ] || die "dpkg-shlibdeps found no libraries" "its errors are above"
  cat <<EOF
Package: $name
Version: $version
Architecture: $architecture
Maintainer: The authors of gst-plugin-face <gst-face@localhost>
Installed-Size: $(du -sk --exclude DEBIAN "$stage" | cut -f 1)
Depends: $depends, gstreamer1.0-plugins-base
Recommends: gstreamer1.0-tools, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad, gstreamer1.0-plugins-ugly, gstreamer1.0-libav, gstreamer1.0-rtsp, fonts-noto-core, python3-pip, unzip
Suggests: fonts-noto-cjk, fonts-noto-color-emoji
Section: video
Priority: optional
Homepage: https://github.com/gst-face/gst-face
Description: GStreamer elements that find, follow and recognise faces
 Elements for faces in video: detection, tracking, recognition by a gallery
 of enrolled people, drawing, clips of events and messages to other programs;
 and facectl, a command line for the same on pictures, files and cameras.
 .
 Models run through ONNX Runtime, which is not in this package:
 /usr/share/gst-face/scripts/setup.sh --runtime fetches it.
EOF
}

build
shape
step "Package"
mkdir -p "$stage/DEBIAN"
control >"$stage/DEBIAN/control"
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
deb=$output/${name}_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$stage" "$deb" >/dev/null
say "$deb ($(du -h "$deb" | cut -f 1))"
if command -v lintian >/dev/null; then
  step "lintian"
  # What it finds is told, and stops nothing: the package is for installing, not for Debian's archive.
  lintian "$deb" | sed 's/^/   /' || true
fi
