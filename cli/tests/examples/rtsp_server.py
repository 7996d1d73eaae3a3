#!/usr/bin/python3
"""Serves an H.264 clip over RTSP on loopback: rtsp_server.py CLIP.mp4

Prints the address, then serves until standard input is closed.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f'( filesrc location="{sys.argv[1]}" ! qtdemux name=demux demux.video_0 ! queue ! h264parse '
    "! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
server.get_mount_points().add_factory("/clip", factory)
if not server.attach(None):
    sys.exit("rtsp_server: no port on loopback")
print(f"rtsp://127.0.0.1:{server.get_bound_port()}/clip", flush=True)
loop = GLib.MainLoop()
GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
loop.run()
