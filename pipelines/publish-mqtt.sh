#!/usr/bin/env bash
# Publishes who comes and who goes at an MQTT broker; with HOME_ASSISTANT=true people appear there as sensors.
# Nothing is shown. What the broker cannot take now waits in the spool. Ctrl-C ends it.
#
# usage: pipelines/publish-mqtt.sh SOURCE BROKER
#
#   SOURCE  rtsp://HOST/PATH, a camera (/dev/video0) or a video file
#   BROKER  mqtts://HOST[:PORT]/PREFIX, or mqtt://… on this machine
#
# Environment:
#   GALLERY         people to recognise, as pipelines/enrol.sh makes it; without it everybody is unknown
#   CAMERA          name of the camera in topics and messages (default: camera)
#   HOME_ASSISTANT  true: announce camera and people to Home Assistant (default false)
#   MQTT_USER       user at the broker; the password is read from the file MQTT_PASSWORD_FILE
#   CA_FILE         PEM file with the authority that signed the broker's certificate
#   INSECURE        true: mqtt:// also to other machines (default false)
#   RATE            frames per second that are published (default 1; 0 for every one)
#   SPOOL           folder in which events wait (default: that of the user)
#   ZONES           zones of the picture, as the property zones of facetrack has them
#   LATENCY         how long packets of a network camera may be late, in milliseconds (default 200)
set -euo pipefail
# shellcheck source=pipelines/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -eq 2 ] || die "a camera or video and a broker are needed" "see pipelines/publish-mqtt.sh --help"
find_plugin
open_source "$1"

exec gst-launch-1.0 -q --eos-on-shutdown \
  "${source[@]}" ! decodebin ! "${pictures[@]}" ! videoconvert ! onnxfacedetect \
  ! "${pictures[@]}" ! facetrack ${ZONES:+zones="$ZONES"} ${CAMERA:+camera="$CAMERA"} \
  ! facerecognize ${GALLERY:+gallery="$GALLERY"} ${CAMERA:+camera="$CAMERA"} \
  ! facepublish target="$2" ${CAMERA:+camera="$CAMERA"} rate="${RATE:-1}" home-assistant="${HOME_ASSISTANT:-false}" \
  ${MQTT_USER:+username="$MQTT_USER"} ${MQTT_PASSWORD_FILE:+password-file="$MQTT_PASSWORD_FILE"} \
  ${CA_FILE:+ca-file="$CA_FILE"} allow-unencrypted="${INSECURE:-false}" ${SPOOL:+spool="$SPOOL"} \
  ! fakesink sync=false
