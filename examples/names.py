#!/usr/bin/env python3
"""Prints who comes, live, and the alerts; with --enrol it enrols somebody whom the gallery does not know.

    /usr/bin/python3 names.py clip.mp4 people.gallery
    /usr/bin/python3 names.py clip.mp4 people.gallery --enrol "Ada Lovelace"

Debian: python3-gi gir1.2-gstreamer-1.0. The metadata is read by name (docs/metadata.md).
"""
import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

PIPELINE = (
    "filesrc name=video ! decodebin ! videoconvert ! onnxfacedetect "
    "! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack "
    "! facerecognize name=names ! fakesink name=end"
)


def faces(buffer):
    """The faces of a buffer as dictionaries: track, name, status and box (fractions of the picture)."""
    meta = buffer.get_custom_meta("GstFaceMeta")
    if not meta:
        return []
    found, array = meta.get_structure().get_array("faces")
    result = []
    for i in range(array.n_values if found else 0):
        face = array.get_nth(i)
        number = lambda field: face.get_double(field).value  # noqa: E731
        has_track, track = face.get_uint64("track-id")
        result.append({
            "track": track if has_track else 0,
            "name": face.get_string("name"),
            "status": face.get_string("status"),
            "box": [number(field) for field in "xywh"],
        })
    return result


class Names:
    def __init__(self, video, gallery, enrol):
        self.pipeline = Gst.parse_launch(PIPELINE)
        self.pipeline.get_by_name("video").props.location = video
        self.recognizer = self.pipeline.get_by_name("names")
        self.recognizer.props.gallery = gallery
        self.enrol, self.printed, self.failed = enrol, {}, False
        pad = self.pipeline.get_by_name("end").get_static_pad("sink")
        pad.add_probe(Gst.PadProbeType.BUFFER, self.on_buffer)

    def on_buffer(self, _pad, info):  # on a streaming thread
        for face in faces(info.get_buffer()):
            track = face["track"]
            name = face["name"] or ("unknown" if face["status"] == "unknown" else None)
            if track and name and self.printed.get(track) != name:
                self.printed[track] = name
                print(f"track {track}: {name}", flush=True)
                if name == "unknown" and self.enrol:
                    # Not here: the signal writes to the gallery, and this thread must not wait.
                    GLib.idle_add(self.enrol_track, track)
        return Gst.PadProbeReturn.OK

    def enrol_track(self, track):
        if self.enrol:
            answer = self.recognizer.emit("enroll", track, self.enrol)
            if answer.get_boolean("ok")[1]:
                print(f"enrolled track {track} as {self.enrol}", flush=True)
                self.enrol = None
            else:
                print(f"track {track} is not enrolled: {answer.get_string('reason')}", flush=True)
        return GLib.SOURCE_REMOVE

    def on_message(self, _bus, message, loop):
        if message.type == Gst.MessageType.ERROR:
            print(f"error: {message.parse_error()[0].message}", file=sys.stderr)
            self.failed = True
            loop.quit()
        elif message.type == Gst.MessageType.EOS:
            loop.quit()
        elif message.has_name("face-alert"):
            alert = message.get_structure()
            print(f"alert: {alert.get_string('event')} {alert.get_string('name') or ''}", flush=True)

    def run(self):
        loop = GLib.MainLoop()
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message, loop)
        self.pipeline.set_state(Gst.State.PLAYING)
        try:
            loop.run()
        except KeyboardInterrupt:
            pass
        self.pipeline.set_state(Gst.State.NULL)
        return 1 if self.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video")
    parser.add_argument("gallery")
    parser.add_argument("--enrol", metavar="NAME", help="enrol the first unknown face that is good enough")
    arguments = parser.parse_args()
    Gst.init(None)
    return Names(arguments.video, arguments.gallery, arguments.enrol).run()


if __name__ == "__main__":
    sys.exit(main())
