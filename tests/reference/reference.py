#!/usr/bin/env python3
"""What OpenCV and ONNX Runtime make of the test media, for the comparison in tests/reference.rs.

usage: reference.py MEDIA DETECTOR.onnx EMBEDDER.onnx OUT_DIR
Looks at every picture of MEDIA and at every tenth frame of its videos, shrunk to 640 pixels of
width. Writes each as raw BGR to OUT_DIR, each face's aligned crop as raw RGB, and prints one JSON
line per picture: {"picture", "width", "height", "faces": [{"box", "landmarks", "score", "crop",
"embedding"}]}.
Needs: opencv-python-headless, numpy, onnxruntime.
"""
import json, pathlib, sys
import cv2, numpy as np, onnxruntime as ort

TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366],
                     [41.5493, 92.3655], [70.7299, 92.2041]])
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def similarity(points):
    """Umeyama's least-squares similarity onto the template, as a 2x3 matrix."""
    a, b = points - points.mean(0), TEMPLATE - TEMPLATE.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    d = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    m = (np.trace(np.diag(s) @ d) / (a ** 2).sum()) * (u @ d @ vt)
    return np.hstack([m, (TEMPLATE.mean(0) - m @ points.mean(0))[:, None]])


def pictures(media):
    for path in sorted(p for d in ("people", "groups", "expressions") for p in (media / d).rglob("*.*")):
        image = cv2.imread(str(path))
        if image is not None:
            yield str(path.relative_to(media)), image
    for path in sorted((media / "video").glob("*.mp4")):
        capture, index = cv2.VideoCapture(str(path)), 0
        while True:
            ok, image = capture.read()
            if not ok:
                break
            if index % 10 == 0:
                yield f"{path.relative_to(media)}#{index}", image
            index += 1


def main():
    media, detector, embedder, out = sys.argv[1:]
    out = pathlib.Path(out)
    session = ort.InferenceSession(embedder, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    crops = 0
    for index, (picture, image) in enumerate(pictures(pathlib.Path(media))):
        scale = min(1.0, 640 / image.shape[1])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale)
        height, width = image.shape[:2]
        image.tofile(out / f"{index}.bgr")
        yunet = cv2.FaceDetectorYN.create(detector, "", (width, height), 0.6, 0.45, 5000)
        _, found = yunet.detect(image)
        faces = []
        for face in found if found is not None else []:
            points = face[4:14].reshape(5, 2).astype(np.float64)
            crop = cv2.warpAffine(image, similarity(points), (112, 112))[:, :, ::-1]
            x = ((crop / 255.0 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
            embedding = session.run(None, {name: x})[0][0]
            np.ascontiguousarray(crop).tofile(out / f"{crops}.rgb")
            faces.append(dict(box=face[:4].tolist(), landmarks=points.tolist(), score=float(face[14]),
                              crop=crops, embedding=(embedding / np.linalg.norm(embedding)).tolist()))
            crops += 1
        print(json.dumps(dict(picture=picture, width=width, height=height, faces=faces)))


if __name__ == "__main__":
    main()
