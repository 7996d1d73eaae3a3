#!/usr/bin/env python3
"""What the detectors' files give when they are fed and read as their authors do, for the comparison in
tests/detectors.rs. Written from the authors' descriptions and not from our decoders; the files are run as
they are, at their own sizes, but for CenterFace, whose size only OpenCV leaves open.

usage: detectors.py live MODELS_DIR MEDIA OUT_DIR
       detectors.py golden MODELS_DIR MEDIA > tests/data/detectors.jsonl

live looks at every picture of MEDIA and at every tenth frame of its videos, shrunk to 640 pixels of the longer
side, and writes each as raw BGR to OUT_DIR. golden looks at groups/*.jpg alone. Both print one JSON line per
picture: {"picture", "width", "height", "faces": {DETECTOR: [[x, y, w, h, score, x1, y1, … x5, y5]]}}, in pixels of
the picture; a detector without points has the first five numbers.
Needs: opencv-python-headless, numpy, onnxruntime.
"""
import json, math, pathlib, sys
import cv2, numpy as np, onnxruntime as ort

SIDE = 640


def suppress(faces, iou):
    """Greedy non-maximum suppression of rows [x1, y1, x2, y2, score, …]."""
    faces, kept = faces[np.argsort(-faces[:, 4], kind="stable")], []
    area = np.prod(faces[:, 2:4] - faces[:, :2], axis=1)
    alive = np.ones(len(faces), bool)
    for i in range(len(faces)):
        if alive[i]:
            kept.append(i)
            side = np.minimum(faces[i, 2:4], faces[:, 2:4]) - np.maximum(faces[i, :2], faces[:, :2])
            both = np.prod(np.maximum(side, 0), axis=1)
            alive &= both / (area[i] + area - both) <= iou
    return faces[kept]


def place(image, width, height):
    """The picture in the top left corner of a black one, and how much it was shrunk."""
    scale = min(1.0, SIDE / max(image.shape[:2]), width / image.shape[1], height / image.shape[0])
    w, h = (max(1, math.floor(side * scale + 0.5)) for side in image.shape[1::-1])
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[:h, :w] = image if scale == 1 else cv2.resize(image, (w, h))
    return canvas, scale


class Runtime:
    """A network of fixed size in ONNX Runtime; outputs by the length of their last dimension."""

    def __init__(self, path):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self.height, self.width = self.input.shape[2:]

    def __call__(self, image, rgb, mean, std):
        canvas, scale = place(image, self.width, self.height)
        x = canvas[:, :, ::-1] if rgb else canvas
        x = ((x.astype(np.float32) - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)[None]
        outputs = self.session.run(None, {self.input.name: np.ascontiguousarray(x, dtype=np.float32)})
        return {o.name: v[0] for o, v in zip(self.session.get_outputs(), outputs)}, scale


class Scrfd:
    """insightface, detection/scrfd/tools/scrfd.py"""

    def __init__(self, path):
        self.net = Runtime(path)

    def __call__(self, image):
        out, scale = self.net(image, True, 127.5, 128)
        faces = []
        for s in (8, 16, 32):
            rows, columns = self.net.height // s, self.net.width // s
            y, x = np.mgrid[:rows, :columns] * s
            anchor = np.repeat(np.stack([x, y], -1).reshape(-1, 2), 2, axis=0)
            distance, points = out[f"bbox_{s}"] * s, out[f"kps_{s}"].reshape(-1, 5, 2) * s
            faces.append(np.hstack([anchor - distance[:, :2], anchor + distance[:, 2:], out[f"score_{s}"],
                                    (anchor[:, None] + points).reshape(-1, 10)]))
        faces = np.vstack(faces)
        return suppress(faces[faces[:, 4] >= 0.5], 0.4), scale


class RetinaFace:
    """biubug6/Pytorch_Retinaface, detect.py, layers/functions/prior_box.py and utils/box_utils.py"""

    def __init__(self, path):
        self.net = Runtime(path)

    def __call__(self, image):
        out, scale = self.net(image, False, (104, 117, 123), 1)
        width, height = self.net.width, self.net.height
        priors = []
        for s, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
            for i in range(math.ceil(height / s)):
                for j in range(math.ceil(width / s)):
                    priors += [((j + 0.5) * s / width, (i + 0.5) * s / height, size / width, size / height)
                               for size in sizes]
        priors, whole = np.array(priors), np.array([width, height])
        centre = priors[:, :2] + out["output0"][:, :2] * 0.1 * priors[:, 2:]
        size = priors[:, 2:] * np.exp(out["output0"][:, 2:] * 0.2)
        points = priors[:, None, :2] + out["585"].reshape(-1, 5, 2) * 0.1 * priors[:, None, 2:]
        faces = np.hstack([(centre - size / 2) * whole, (centre + size / 2) * whole, out["586"][:, 1:],
                           (points * whole).reshape(-1, 10)])
        return suppress(faces[faces[:, 4] >= 0.6], 0.4), scale


class CenterFace:
    """Star-Clouds/CenterFace, prj-python/centerface.py"""

    def __init__(self, path):
        self.net = cv2.dnn.readNetFromONNX(str(path))

    def __call__(self, image):
        scale = min(1.0, SIDE / max(image.shape[:2]))
        width, height = (math.ceil(math.floor(side * scale + 0.5) / 32) * 32 for side in image.shape[1::-1])
        canvas, scale = place(image, width, height)
        self.net.setInput(cv2.dnn.blobFromImage(canvas, swapRB=True))
        heat, size, offset, points = (v[0] for v in self.net.forward(["537", "538", "539", "540"]))
        row, column = np.where(heat[0] >= 0.35)
        h, w = np.exp(size[:, row, column]) * 4
        y, x = (np.stack([row, column]) + offset[:, row, column] + 0.5) * 4
        y1, x1 = y - h / 2, x - w / 2
        points = points[:, row, column].reshape(5, 2, -1)
        points = np.stack([points[:, 1] * w + x1, points[:, 0] * h + y1], 1).reshape(10, -1).T
        faces = np.stack([x1, y1, x1 + w, y1 + h, heat[0, row, column]], 1)
        return suppress(np.hstack([faces, points]), 0.3), scale


class UltraLight:
    """Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, run_video_face_detect_onnx.py"""

    def __init__(self, path):
        self.net = Runtime(path)

    def __call__(self, image):
        out, scale = self.net(image, True, 127, 128)
        boxes = out["boxes"] * np.array([self.net.width, self.net.height] * 2)
        faces = np.hstack([boxes, out["scores"][:, 1:]])
        return suppress(faces[faces[:, 4] >= 0.7], 0.3), scale


DETECTORS = {
    "scrfd_500m_bnkps": (Scrfd, "face_detection_scrfd_500m_bnkps.onnx"),
    "retinaface_mnet025": (RetinaFace, "face_detection_retinaface_mnet025_640.onnx"),
    "centerface": (CenterFace, "face_detection_centerface.onnx"),
    "ultralight_rfb320": (UltraLight, "face_detection_ultralight_rfb320.onnx"),
}


def stills(media, folders):
    for path in sorted(p for d in folders for p in (media / d).rglob("*.*")):
        image = cv2.imread(str(path))
        if image is not None:
            yield str(path.relative_to(media)), image


def frames(media):
    for path in sorted((media / "video").glob("*.mp4")):
        capture, index = cv2.VideoCapture(str(path)), 0
        while True:
            ok, image = capture.read()
            if not ok:
                break
            if index % 10 == 0:
                yield f"{path.relative_to(media)}#{index}", image
            index += 1


def find(detector, image):
    faces, scale = detector(image)
    faces = faces.copy()
    faces[:, :4] /= scale
    faces[:, 5:] /= scale
    faces[:, 2:4] -= faces[:, :2]
    return [[round(float(v), 3) for v in face] for face in faces]


def main():
    mode, models, media = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    detectors = {name: kind(models / file) for name, (kind, file) in DETECTORS.items() if (models / file).exists()}
    if mode == "golden":
        pictures = stills(media, ["groups"])
    else:
        pictures = (p for part in (stills(media, ["groups", "people", "expressions"]), frames(media)) for p in part)
    for index, (picture, image) in enumerate(pictures):
        if mode == "live":
            scale = SIDE / max(image.shape[:2])
            if scale < 1:
                image = cv2.resize(image, None, fx=scale, fy=scale)
            image.tofile(pathlib.Path(sys.argv[4]) / f"{index}.bgr")
        height, width = image.shape[:2]
        faces = {name: find(detector, image) for name, detector in detectors.items()}
        print(json.dumps(dict(picture=picture, width=width, height=height, faces=faces)))


if __name__ == "__main__":
    main()
