#!/usr/bin/python3
"""Serves video over RTSP on loopback: rtsp_server.py MEDIA [--loop | --record] [--port PORT] [--login USER:PASSWORD]

MEDIA is an H.264 clip, or, beginning with "(", a bin as gst-launch-1.0 takes it, with payloaders named pay0, pay1.
--loop shows a clip again and again; facecamerasrc does that. --record takes a stream instead: MEDIA is a bin with
depayloaders named depay0, depay1. Prints the address, then serves until standard input is closed.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

parser = argparse.ArgumentParser()
parser.add_argument("media")
parser.add_argument("--loop", action="store_true")
parser.add_argument("--record", action="store_true")
parser.add_argument("--port", default="0")
parser.add_argument("--login")
options = parser.parse_args()

Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=options.port)
factory = GstRtspServer.RTSPMediaFactory()
media = options.media
if not media.startswith("("):
    source = f'filesrc location="{media}" ! qtdemux name=demux demux.video_0 ! queue'
    if options.loop:
        source = f'facecamerasrc uri="{media}" loop=true'
    media = f"( {source} ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
factory.set_launch(media)
if options.record:
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
if options.login:
    role = "viewer"
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role(role)
    permissions.add_permission_for_role(role, "media.factory.access", True)
    permissions.add_permission_for_role(role, "media.factory.construct", True)
    factory.set_permissions(permissions)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", role)
    auth = GstRtspServer.RTSPAuth()
    user, password = options.login.split(":", 1)
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
server.get_mount_points().add_factory("/clip", factory)
if not server.attach(None):
    sys.exit("rtsp_server: no port on loopback")
print(f"rtsp://127.0.0.1:{server.get_bound_port()}/clip", flush=True)
loop = GLib.MainLoop()
GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
loop.run()
