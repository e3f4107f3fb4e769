"""Makes edge/demo/astronaut.mp4, the clip `make demo` plays: a face enters, moves, tilts, leaves and comes back.

The face is NASA's public-domain portrait of Eileen Collins, as scikit-image ships it (skimage.data.astronaut()).

    .venv-train/bin/python tools/make_demo_clip.py edge/demo/astronaut.mp4
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

WIDTH, HEIGHT, SECONDS = 640, 480, 20
FPS = 12
"""Few, so that the file stays under 1 MB."""

HEAD_X, HEAD_Y = 225.0, 112.0
"""Centre of the face in the portrait, px."""

# Seconds, face centre x and y as shares of the frame, roll in degrees, size as a share of the portrait's own.
PATH = np.array(
    [
        (0.0, -0.45, 0.48, 0, 1.0),
        (1.5, -0.45, 0.48, 0, 1.0),
        (3.5, 0.45, 0.45, 0, 1.0),
        (5.0, 0.55, 0.42, 14, 1.0),
        (6.5, 0.42, 0.46, -14, 1.1),
        (8.0, 0.50, 0.44, 0, 1.4),
        (9.0, 0.50, 0.44, 0, 1.4),
        (11.0, 1.45, 0.48, 0, 1.0),
        (13.0, 1.45, 0.48, 0, 1.0),
        (15.0, 0.55, 0.45, 0, 1.0),
        (16.5, 0.45, 0.43, -10, 1.0),
        (17.5, 0.50, 0.45, 0, 1.2),
        (19.3, -0.45, 0.48, 0, 1.0),
        (20.0, -0.45, 0.48, 0, 1.0),
    ]
)


def eased(seconds: float) -> NDArray[np.float64]:
    """The row of PATH at a time, moving off and arriving gently (cosine between the rows)."""
    at = int(np.clip(np.searchsorted(PATH[:, 0], seconds, side="right") - 1, 0, len(PATH) - 2))
    share = (seconds - PATH[at, 0]) / (PATH[at + 1, 0] - PATH[at, 0])
    weight = (1 - np.cos(np.pi * np.clip(share, 0, 1))) / 2
    return np.asarray(PATH[at] * (1 - weight) + PATH[at + 1] * weight)


def backdrop() -> NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 3) BGR: a wall as light as the portrait's own, lit from above left."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = 214 - 25 * x / WIDTH - 25 * y / HEIGHT
    wall: NDArray[np.uint8] = np.clip(light[..., None] * np.array([0.95, 0.97, 1.0]), 0, 255).astype(np.uint8)
    return wall


def main(target: Path) -> None:
    portrait = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR)
    height, width = portrait.shape[:2]
    # Head and shoulders, with a soft edge.
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (round(HEAD_X), 95), (80, 92), 0, 0, 360, 1.0, -1)
    cv2.ellipse(mask, (210, 330), (150, 190), 0, 0, 360, 1.0, -1)
    mask[:12] = mask[:, :4] = 0
    mask = cv2.GaussianBlur(mask, (0, 0), 5)
    mask *= np.minimum(1, np.arange(height) / 12)[:, None]
    wall = backdrop()
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise SystemExit(f"expected OpenCV to write mp4v to {target}, it would not; check the folder")
    for index in range(SECONDS * FPS):
        _, x, y, roll, size = eased(index / FPS)
        matrix = cv2.getRotationMatrix2D((HEAD_X, HEAD_Y), roll, size)
        matrix[:, 2] += (x * WIDTH - HEAD_X, y * HEIGHT - HEAD_Y)
        moved = cv2.warpAffine(portrait, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.warpAffine(mask, matrix, (WIDTH, HEIGHT))[..., None]
        writer.write((moved * alpha + wall * (1 - alpha)).astype(np.uint8))
    writer.release()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "edge/demo/astronaut.mp4"))
