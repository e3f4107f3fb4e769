"""Does a converted detector find the faces that OpenCV's FaceDetectorYN finds, and in the same places?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.records import Box, Face, Landmarks

SAME_FACE_IOU = 0.5


@dataclass(frozen=True, slots=True)
class DetectorAgreement:
    """One detector against a reference, over the same pictures."""

    file: str
    runtime: str
    pictures: int
    faces: int
    """The reference's."""
    found: int
    extra: int
    """Faces that the reference does not have."""
    iou_min: float
    iou_5: float
    """95 % of the found faces overlap by at least this much."""
    landmarks_median: float
    landmarks_95: float
    """Mean distance of the five points, as a share of the face's height."""
    score_max: float
    """Largest difference of a score."""

    def as_dict(self) -> dict[str, Any]:
        return {key: round(value, 5) if isinstance(value, float) else value for key, value in asdict(self).items()}


def compare(
    reference: Sequence[Sequence[Face]], found: Sequence[Sequence[Face]], file: str, runtime: str
) -> DetectorAgreement:
    """reference, found: the faces of each picture. Figures of a detector that found nothing are NaN."""
    pairs: list[tuple[Face, Face]] = []
    faces = extra = 0
    for ours, theirs in zip(reference, found, strict=True):
        matched = match(ours, theirs)
        pairs += matched
        faces += len(ours)
        extra += len(theirs) - len(matched)
    overlaps = np.array([iou(a.box, b.box) for a, b in pairs] or [np.nan])
    distances = np.array([landmark_distance(a, b) for a, b in pairs] or [np.nan])
    scores = np.array([abs(a.confidence - b.confidence) for a, b in pairs] or [np.nan])
    return DetectorAgreement(
        file=file,
        runtime=runtime,
        pictures=len(reference),
        faces=faces,
        found=len(pairs),
        extra=extra,
        iou_min=float(overlaps.min()),
        iou_5=float(np.percentile(overlaps, 5)),
        landmarks_median=float(np.median(distances)),
        landmarks_95=float(np.percentile(distances, 95)),
        score_max=float(scores.max()),
    )


def match(reference: Sequence[Face], found: Sequence[Face]) -> list[tuple[Face, Face]]:
    """Pairs of the same face, those that overlap most first; each face in one pair at most."""
    candidates = sorted(
        ((iou(a.box, b.box), i, j) for i, a in enumerate(reference) for j, b in enumerate(found)), reverse=True
    )
    left_i, left_j = set(range(len(reference))), set(range(len(found)))
    pairs = []
    for overlap, i, j in candidates:
        if overlap >= SAME_FACE_IOU and i in left_i and j in left_j:
            left_i.remove(i)
            left_j.remove(j)
            pairs.append((reference[i], found[j]))
    return pairs


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    common = max(0.0, width) * max(0.0, height)
    union = a.area + b.area - common
    return common / union if union > 0 else 0.0


def landmark_distance(a: Face, b: Face) -> float:
    """Mean distance of the five points as a share of ``a``'s height; NaN where one has none."""
    if a.landmarks is None or b.landmarks is None:
        return float("nan")
    distances = np.linalg.norm(points(a.landmarks) - points(b.landmarks), axis=1)
    return float(distances.mean()) / a.box.height


def points(of: Landmarks) -> NDArray[np.float64]:
    """(5, 2): x, y of eyes, nose and mouth corners."""
    return np.array([of.right_eye, of.left_eye, of.nose, of.mouth_right, of.mouth_left])


def table(agreements: Sequence[DetectorAgreement]) -> str:
    """One line a model."""
    lines = [
        f"{'file':<22}{'runtime':<24}{'faces found':>14}{'extra':>7}{'IoU min':>9}{'5 %':>7}"
        f"{'landmarks off, median':>23}{'95 %':>8}{'score off':>11}"
    ]
    lines += [
        f"{a.file:<22}{a.runtime:<24}{f'{a.found} of {a.faces}':>14}{a.extra:>7}{a.iou_min:>9.3f}{a.iou_5:>7.3f}"
        f"{f'{100 * a.landmarks_median:.1f} %':>23}{f'{100 * a.landmarks_95:.1f} %':>8}{a.score_max:>11.3f}"
        for a in agreements
    ]
    return "\n".join(lines)
