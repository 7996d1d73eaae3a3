#!/usr/bin/python3
"""Reads names and boxes from GstFaceMeta in a pad probe.

    read_faces.py [--overrides auto|required|blocked] [--push N] 'PIPELINE ! fakesink name=sink'

Runs the pipeline and prints one JSON object per buffer that reaches the element named `sink`:
frame id, whether a detector looked, and per face id, box (fractions), name, status, track id and
landmarks; or null for a buffer without the meta.

--overrides says what to do with the GStreamer overrides of python3-gst-1.0: use them if they are
there (auto), fail without them (required), or run as a machine does that has only the bare
bindings (blocked). --push N feeds an `appsrc name=src` with N black frames of
160x120 GRAY8 that carry a meta with one named face: a reader can be tried without a detector.
"""

import argparse
import json
import sys
import warnings

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--overrides", choices=("auto", "required", "blocked"), default="auto")
parser.add_argument("--push", type=int, default=0, metavar="N")
parser.add_argument("pipeline")
options = parser.parse_args()
if options.overrides == "blocked":
    # An entry of None says "no such module" to every import.
    for module in ("Gst", "GstVideo", "_gi_gst"):
        sys.modules["gi.overrides." + module] = None

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

# Deprecated in GObject, and what gst_structure_get_array gives.
warnings.filterwarnings("ignore", "GObject.ValueArray")
Gst.init(None)
if options.overrides != "auto":
    found = hasattr(Gst.Structure, "__getitem__")
    if found != (options.overrides == "required"):
        sys.exit(f"read_faces: overrides {options.overrides}, but found: {found}")


def double(structure, name):
    ok, value = structure.get_double(name)
    return value if ok else None


def uint64(structure, name):
    ok, value = structure.get_uint64(name)
    return value if ok else None


def boolean(structure, name):
    ok, value = structure.get_boolean(name)
    return value if ok else None


def array(structure, name):
    """The items of an array field. get_array works with and without the overrides, which alone
    know the type GstValueArray."""
    ok, values = structure.get_array(name)
    if not ok:
        return []
    items = [values.get_nth(i) for i in range(values.n_values)]
    # A structure lives in the array: without a copy it would be gone with it.
    return [item.copy() if isinstance(item, Gst.Structure) else item for item in items]


def read_face(face):
    return {
        "id": uint64(face, "id"),
        "box": [double(face, key) for key in ("x", "y", "w", "h")],
        "observed": boolean(face, "observed"),
        "name": face.get_string("name"),
        "status": face.get_string("status"),
        "track_id": uint64(face, "track-id"),
        "landmarks": array(face, "landmarks"),
    }


def read_frame(buffer):
    meta = buffer.get_custom_meta("GstFaceMeta")
    if meta is None:
        return None
    frame = meta.get_structure()
    return {
        "frame_id": uint64(frame, "frame-id"),
        "looked": boolean(frame, "looked"),
        "faces": [read_face(face) for face in array(frame, "faces")],
    }


def on_buffer(_pad, info):
    print(json.dumps(read_frame(info.get_buffer()), ensure_ascii=False), flush=True)
    return Gst.PadProbeReturn.OK


def run():
    try:
        pipeline = Gst.parse_launch(options.pipeline)
    except GLib.Error as error:
        sys.exit(f"read_faces: {error.message}")
    sink = pipeline.get_by_name("sink")
    if sink is None:
        sys.exit("read_faces: the pipeline has no element named 'sink'")
    sink.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, on_buffer)
    pipeline.set_state(Gst.State.PLAYING)
    if options.push:
        from push_frames import push_frames

        push_frames(pipeline.get_by_name("src"), options.push)
    kinds = Gst.MessageType.ERROR | Gst.MessageType.EOS
    message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, kinds)
    pipeline.set_state(Gst.State.NULL)
    if message.type == Gst.MessageType.ERROR:
        error, debug = message.parse_error()
        sys.exit(f"read_faces: {error.message} ({debug})")


run()
