#!/usr/bin/env bash
# Installs a package of scripts/package.sh in a new Debian 12 and looks whether it works and goes without a trace.
#
# usage: scripts/test-package.sh PACKAGE.deb
#
# The new Debian is a folder (debootstrap, then chroot); this runs as root and takes minutes. It fetches packages from the mirror of
# this machine's apt. Models come from GST_FACE_MODEL_PATH and ONNX Runtime from GST_FACE_ORT_PATH, if they are set.
#   SUITE  another suite than bookworm
#   BASE   keeps the bare system in that folder, for the next time
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ "${1:-}" != --help ] && [ "${1:-}" != -h ] || { print_help "${BASH_SOURCE[0]}"; exit 0; }
[ $# -eq 1 ] && [ -f "$1" ] || die "name the package to test" "see scripts/test-package.sh --help"
[ "$(id -u)" -eq 0 ] || die "debootstrap and chroot need root"
command -v debootstrap >/dev/null || die "debootstrap is missing" "run: apt-get install debootstrap"
package=$(readlink -f "$1")
suite=${SUITE:-bookworm}
export_runtime

folder=$(mktemp -d "${TMPDIR:-/var/tmp}/gst-face-package.XXXXXX")
trap 'rm -rf --one-file-system "$folder"' EXIT
machine=$folder/machine

bare_system() {
  step "A new Debian ($suite)"
  local base=${BASE:-$folder/base} mirror file variable
  mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
  [ -d "$base/usr" ] || debootstrap --variant=minbase --include=ca-certificates "$suite" "$base" ${mirror:+"$mirror"} >/dev/null
  cp -a "$base" "$machine"
  for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt /etc/apt/apt.conf.d/*; do
    [ ! -f "$file" ] || install -D "$(readlink -f "$file")" "$machine$file"
  done
  for variable in SSL_CERT_FILE; do
    file=${!variable:-}
    [ ! -f "$file" ] || install -D "$file" "$machine$file"
  done
  install -D -m 644 "$package" "$machine/tmp/gst-face.deb"
  [ -z "${GST_FACE_MODEL_PATH:-}" ] || cp -a "$GST_FACE_MODEL_PATH" "$machine/opt/models"
  if [ -n "${GST_FACE_ORT_PATH:-}" ]; then
    install -d "$machine/opt/onnxruntime"
    local runtime=$GST_FACE_ORT_PATH
    [ -d "$runtime" ] || runtime=$(dirname "$runtime")
    cp -a "$runtime"/libonnxruntime*.so* "$machine/opt/onnxruntime/"
  fi
}

# In namespaces of its own: what is mounted there is gone with it.
inside() {
  # shellcheck disable=SC2016
  machine=$machine unshare --mount --pid --fork bash -euo pipefail -c '
    mount --make-rprivate /
    mount -t proc proc "$machine/proc"
    mount --rbind /dev "$machine/dev"
    exec chroot "$machine" /usr/bin/env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 \
      DEBIAN_FRONTEND=noninteractive ${SSL_CERT_FILE:+SSL_CERT_FILE="$SSL_CERT_FILE"} \
      GST_FACE_MODEL_PATH=/opt/models GST_FACE_ORT_PATH=/opt/onnxruntime bash -euo pipefail -c "$1"' inside "$1"
}

files() { (cd "$machine" && find etc usr var/lib \( -path var/lib/apt -o -path var/lib/dpkg -o -path var/cache \) -prune -o -print | sort); }

bare_system
step "What the package needs"
# First what it depends on, so that the comparison below is of the package alone.
inside 'apt-get -qq update && apt-get install -y -qq --no-install-recommends gstreamer1.0-tools gstreamer1.0-plugins-base \
  $(dpkg-deb -f /tmp/gst-face.deb Depends | sed "s/([^)]*)//g; s/,//g; s/|[^,]*//g") >/dev/null 2>&1' ||
  die "what the package depends on cannot be installed"
files >"$folder/before"

step "Install"
inside 'apt-get install -y -qq --no-install-recommends /tmp/gst-face.deb >/dev/null'
inside 'gst-inspect-1.0 onnxfacedetect | head -n 12; gst-inspect-1.0 face | tail -n 12'
inside 'facectl --version; test -s /usr/share/man/man1/facectl.1.gz; test -s /usr/share/bash-completion/completions/facectl'
inside 'gst-launch-1.0 -q videotestsrc num-buffers=2 ! video/x-raw,width=64,height=64 ! facetrack ! faceannotate ! fakesink'
if [ -e "$machine/opt/models" ] && [ -e "$machine/opt/onnxruntime" ]; then
  inside 'facectl doctor'
else
  say "skipped: facectl doctor, there are no models or no ONNX Runtime (GST_FACE_MODEL_PATH, GST_FACE_ORT_PATH)"
fi

step "Purge"
inside 'dpkg --purge gst-face >/dev/null'
files >"$folder/after"
diff "$folder/before" "$folder/after" || die "the package leaves these behind"
say "nothing is left"
