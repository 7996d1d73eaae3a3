"""Frames with a GstFaceMeta from Python, for trying a reader without a detector.

The bindings hand out a copy of a custom meta's structure, so they can read one and not write it:
this goes to the C library by ctypes.
"""

import ctypes
import sys

from gi.repository import Gst

FACE = (
    "face, id=(guint64)0, x=(double)0.25, y=(double)0.5, w=(double)0.125, h=(double)0.25, "
    "score=(double)0.875, observed=(boolean)true, name=(string)\"Zoë 张\", "
    "status=(string)known, landmarks=(double)<0.0, 0.0625, 0.125, 0.1875, 0.25, 0.3125, 0.375, "
    "0.4375, 0.5, 0.5625>"
)
FRAME = (
    "GstFaceMeta, version=(int)1, frame-id=(guint64){number}, looked=(boolean)true, "
    "width=(int)160, height=(int)120, faces=<[" + FACE + "]>;"
)

library = ctypes.CDLL("libgstreamer-1.0.so.0")
for function, arguments in {
    "gst_buffer_add_custom_meta": [ctypes.c_void_p, ctypes.c_char_p],
    "gst_custom_meta_get_structure": [ctypes.c_void_p],
    "gst_structure_from_string": [ctypes.c_char_p, ctypes.c_void_p],
    "gst_structure_nth_field_name": [ctypes.c_void_p, ctypes.c_uint],
    "gst_structure_get_value": [ctypes.c_void_p, ctypes.c_char_p],
    "gst_structure_set_value": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
    "gst_structure_free": [ctypes.c_void_p],
}.items():
    getattr(library, function).argtypes = arguments
    getattr(library, function).restype = ctypes.c_void_p
library.gst_structure_n_fields.argtypes = [ctypes.c_void_p]
library.gst_structure_nth_field_name.restype = ctypes.c_char_p


def add_meta(buffer, text):
    parsed = library.gst_structure_from_string(text.encode(), None)
    if not parsed:
        sys.exit(f"push_frames: not a structure: {text}")
    # The hash of a boxed object is its address.
    meta = library.gst_buffer_add_custom_meta(hash(buffer), b"GstFaceMeta")
    structure = library.gst_custom_meta_get_structure(meta)
    for index in range(library.gst_structure_n_fields(parsed)):
        name = library.gst_structure_nth_field_name(parsed, index)
        value = library.gst_structure_get_value(parsed, name)
        library.gst_structure_set_value(structure, name, value)
    library.gst_structure_free(parsed)


def frame_buffer(number):
    buffer = Gst.Buffer.new_allocate(None, 160 * 120, None)
    buffer.memset(0, 0, 160 * 120)
    buffer.pts = number * 40 * Gst.MSECOND
    buffer.duration = 40 * Gst.MSECOND
    add_meta(buffer, FRAME.replace("{number}", str(number)))
    return buffer


def push_frames(source, count):
    """Pushes `count` black frames with one named face each, then the end of the stream."""
    source.set_property("format", Gst.Format.TIME)
    source.set_property("max-bytes", 0)
    caps = "video/x-raw,format=GRAY8,width=160,height=120,framerate=25/1"
    source.set_property("caps", Gst.Caps.from_string(caps))
    for number in range(count):
        flow = source.emit("push-buffer", frame_buffer(number))
        if flow != Gst.FlowReturn.OK:
            sys.exit(f"push_frames: appsrc refused buffer {number}: {flow.value_nick}")
    source.emit("end-of-stream")
