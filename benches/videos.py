"""The videos of benches/compare.sh, made of the test media with ffmpeg and kept between runs."""

from __future__ import annotations

import os
import pathlib
import subprocess

import cv2
import numpy as np

# A grid of 12 × 9 photos on a picture of 1920 × 1080: each face is some 30 pixels wide where the detector looks.
COLUMNS, ROWS = 12, 9
TILE_WIDTH, TILE_HEIGHT = 160, 120


class Videos:
    def __init__(self, media: pathlib.Path, scratch: pathlib.Path) -> None:
        self.media, self.scratch = media, scratch
        self.clip = media / "video" / "short_hamilton_clip.mp4"
        scratch.mkdir(parents=True, exist_ok=True)

    def scaled(self, width: int, height: int) -> pathlib.Path:
        """The clip in another size."""
        source = ["-i", str(self.clip), "-vf", f"scale={width}:{height}:flags=bicubic"]
        return self._encoded(f"clip-{height}p.mp4", source)

    def faces(self, count: int, frames: int) -> pathlib.Path:
        """A still picture with so many faces, shown for so many frames."""
        name = f"faces-{count}-{frames}.mp4"
        picture = self.scratch / f"faces-{count}.png"
        if not (self.scratch / name).exists():
            cv2.imwrite(str(picture), self._montage(count))
        return self._encoded(name, ["-loop", "1", "-framerate", "25", "-i", str(picture), "-frames:v", str(frames)])

    def _montage(self, count: int) -> np.ndarray:
        # Portraits; what has an alpha channel shows more than a face.
        photos = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(self.media.glob("people/*/*.png"))]
        photos = [photo for photo in photos if photo is not None and photo.ndim == 2]
        canvas = np.zeros((ROWS * TILE_HEIGHT, COLUMNS * TILE_WIDTH, 3), np.uint8)
        for index in range(count):
            photo = cv2.cvtColor(photos[index % len(photos)], cv2.COLOR_GRAY2BGR)
            scale = min(TILE_HEIGHT / photo.shape[0], TILE_WIDTH / photo.shape[1])
            tile = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            x, y = index % COLUMNS * TILE_WIDTH, index // COLUMNS * TILE_HEIGHT
            canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        return canvas

    def _encoded(self, name: str, source: list[str]) -> pathlib.Path:
        path = self.scratch / name
        if not path.exists():
            print(f"making {name}", flush=True)
            part = path.with_suffix(".part.mp4")
            # As many frames as the source has, though they do not come evenly.
            how = ["-fps_mode", "passthrough", "-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]
            subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *how, str(part)], check=True)
            os.replace(part, path)
        return path
