#!/usr/bin/env python3
"""What cv2.resize with INTER_LINEAR makes of generated pictures, for the comparison in
tests/resize.rs.

usage: resize.py OUT_DIR
Reads lines of JSON, {"width", "height", "to": [width, height], "channels", "float"}, from standard
input and writes source and result of line N to OUT_DIR/N.source and OUT_DIR/N.result: raw bytes, the
result as little-endian 32-bit floats if "float" says so. Half of the pictures are noise, the others
are smooth.
Needs: opencv-python-headless, numpy.
"""
import json, pathlib, sys
import cv2, numpy as np


def source(index, height, width, channels):
    random = np.random.default_rng(index)
    noise = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return noise if index % 2 else np.ascontiguousarray(cv2.blur(noise, (9, 9)).reshape(noise.shape))


def main():
    out = pathlib.Path(sys.argv[1])
    for index, line in enumerate(sys.stdin):
        case = json.loads(line)
        picture = source(index, case["height"], case["width"], case["channels"])
        kind = np.float32 if case["float"] else np.uint8
        result = cv2.resize(picture.astype(kind), tuple(case["to"]), interpolation=cv2.INTER_LINEAR)
        picture.tofile(out / f"{index}.source")
        result.tofile(out / f"{index}.result")


if __name__ == "__main__":
    main()
