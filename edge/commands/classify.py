"""``python -m edge classify``: the emotions on photos, by the same parts that judge a camera's frames."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.config import load_settings
from edge.errors import EXIT_FAILURE, EXIT_OK, SourceError, UsageError
from edge.records import UNKNOWN, Box, Face, Scores
from edge.settings import JudgementSettings, Settings

if TYPE_CHECKING:
    from edge.bundle import Bundle
    from edge.interfaces import EmotionClassifier, FaceDetector

WORKING_WIDTH_PX = 1280
"""A photo is looked at once, so faces may be smaller in it than in a camera's frame."""

MAX_YAW = 0.35
"""And there is no next frame to put a half-seen face right: heads turned further are counted, but not judged."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One face of a photo; ``scores`` is None where ``why_not`` says why it was not judged."""

    face: Face
    scores: Scores | None
    why_not: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG, PNG, WebP, BMP, TIFF ...")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a copy of each photo with boxes and labels here")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def run(args: argparse.Namespace) -> int:
    """Exit code 0 where every photo could be read (and its copy written), with or without faces; else 1."""
    from edge.app import open_models
    from edge.bundle import load_bundle
    from edge.cameras.image_file import read_image

    settings = for_photos(load_settings(None))
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise UsageError(f"expected a folder for --out, {args.out} is a file; name another")
    bundle = load_bundle(settings.classifier.bundle)
    models = open_models(settings, bundle)
    if models.second_best:
        print(f"note: {models.second_best}", file=sys.stderr)
    try:
        parts = (read_image, models.detector, models.classifier, bundle, settings.judgement)
        return classify_photos(args.photos, args.out, args.json, *parts)
    finally:
        models.close()


def for_photos(settings: Settings) -> Settings:
    """What a camera's settings become where every picture stands alone."""
    detector = replace(settings.detector, working_width_px=WORKING_WIDTH_PX)
    judgement = replace(settings.judgement, max_yaw=min(settings.judgement.max_yaw, MAX_YAW))
    classifier = replace(settings.classifier, backend="cpu")  # an Edge TPU takes longer to start than a photo does
    return replace(settings, detector=detector, judgement=judgement, classifier=classifier)


def classify_photos(
    photos: list[Path],
    out: Path | None,
    as_json: bool,
    read_image: Callable[[Path], NDArray[np.uint8]],
    detector: "FaceDetector",
    classifier: "EmotionClassifier",
    bundle: "Bundle",
    settings: JudgementSettings,
) -> int:
    """Judge each photo, print, write copies. A photo that can't be read, or a copy that can't be written, is
    named in ``error``, and the others are still done."""
    rows: list[dict[str, Any]] = []
    for number, photo in enumerate(photos):
        row: dict[str, Any] = {"photo": str(photo)}
        try:
            image = read_image(photo)
            found = judge_photo(image, detector, classifier, bundle, settings)
            row |= photo_row(found, image, settings.confidence_threshold)
            if out is not None:
                row["annotated"] = str(write_copy(image, found, settings, copy_path(out, photos, number)))
        except SourceError as error:
            # Caught here, not in __main__: what was found is still to be told, and the other photos to be done.
            row["error"] = str(error)
            print(f"error: {error}", file=sys.stderr)
        if "faces" in row and not as_json:
            print(text_of(row), flush=True)
        rows.append(row)
    if as_json:
        model = {"name": bundle.name, "version": bundle.version}
        document = {
            "schema": "emotion-edge/photos/1",
            "detector": detector.name,
            "backend": classifier.backend,
            "model": model,
            "photos": rows,
        }
        print(json.dumps(document, indent=2))
    return EXIT_FAILURE if any("error" in row for row in rows) else EXIT_OK


def judge_photo(
    image: NDArray[np.uint8],
    detector: "FaceDetector",
    classifier: "EmotionClassifier",
    bundle: "Bundle",
    settings: JudgementSettings,
) -> list[Judged]:
    """image: (H, W, 3) BGR uint8. Every face, from left to right."""
    from edge.preprocess import crop_face, roll_deg
    from edge.quality import why_not_judged

    _, height, width, _ = bundle.input.shape
    geometry = bundle.crop(detector.name)
    judged = []
    for face in sorted(detector.detect(image), key=lambda face: face.box.left):
        roll = roll_deg(face.landmarks) if face.landmarks else 0.0
        crop = crop_face(image, face, geometry, height, width, roll)
        why_not = why_not_judged(face, crop, settings)
        judged.append(Judged(face, None if why_not else classifier.classify([crop])[0], why_not))
    return judged


def emotion_of(scores: Scores, threshold: float) -> tuple[str, float]:
    """The label and its probability; ``unknown``, with the best label's probability, below the threshold."""
    label, probability = scores.top
    return (label if probability >= threshold else UNKNOWN), probability


def photo_row(found: list[Judged], image: NDArray[np.uint8], threshold: float) -> dict[str, Any]:
    """A photo's part of the JSON document. Boxes: left, top, width, height in pixels of the upright photo."""

    def box(box: Box) -> list[int]:
        return [round(box.left), round(box.top), round(box.width), round(box.height)]

    faces, others = [], []
    for judged in found:
        if judged.scores is None:
            others.append({"reason": judged.why_not, "box": box(judged.face.box)})
            continue
        emotion, confidence = emotion_of(judged.scores, threshold)
        pairs = zip(judged.scores.labels, judged.scores.probabilities.tolist(), strict=True)
        faces.append(
            {
                "emotion": emotion,
                "confidence": round(confidence, 4),
                "probabilities": {label: round(probability, 4) for label, probability in pairs},
                "box": box(judged.face.box),
            }
        )
    return {"width": image.shape[1], "height": image.shape[0], "faces": faces, "not_judged": others}


def text_of(row: dict[str, Any]) -> str:
    """A photo's lines for a person."""
    faces, others = row["faces"], row["not_judged"]
    count = "no face" if not faces else "1 face" if len(faces) == 1 else f"{len(faces)} faces"
    if others:
        count += "; " if faces else " that can be judged; "
        count += f"{len(others)} {'more ' if faces else ''}not judged: " + ", ".join(o["reason"] for o in others)
    lines = [f"{row['photo']}: {count}"]
    for number, face in enumerate(faces, 1):
        best = sorted(face["probabilities"].items(), key=lambda item: -item[1])[:3]
        detail = ", ".join(f"{label} {probability:.0%}" for label, probability in best)
        left, top, width, height = face["box"]
        lines.append(f"  {number}  {face['emotion']:<9} ({detail}) at {left},{top} {width}x{height}")
    if "annotated" in row:
        lines.append(f"  annotated copy: {row['annotated']}")
    return "\n".join(lines)


def copy_path(out: Path, photos: list[Path], number: int) -> Path:
    """``<stem>-emotions.<jpg or png>`` in ``out``; numbered where two photos share a stem."""
    photo = photos[number]
    same = sum(other.stem == photo.stem for other in photos[:number])
    suffix = ".jpg" if photo.suffix.lower() in (".jpg", ".jpeg") else ".png"
    return out / f"{photo.stem}-emotions{f'-{same + 1}' if same else ''}{suffix}"


def write_copy(image: NDArray[np.uint8], found: list[Judged], settings: JudgementSettings, target: Path) -> Path:
    """Draw boxes and labels on a copy, written beside ``target`` and renamed. Raises SourceError."""
    import cv2

    from edge.annotate import Mark, annotate

    marks = []
    for judged in found:
        if judged.scores is None:
            marks.append(Mark(judged.face.box, f"not judged: {judged.why_not}", judged=False))
        else:
            emotion, confidence = emotion_of(judged.scores, settings.confidence_threshold)
            marks.append(Mark(judged.face.box, f"{emotion} {confidence:.0%}", judged=True))
    picture = annotate(image, marks)
    done, data = cv2.imencode(target.suffix, picture)
    try:
        if not done:
            raise OSError(0, f"OpenCV could not encode {target.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        part.write_bytes(data.tobytes())
        part.replace(target)
    except OSError as error:
        raise SourceError(
            f"expected to write {target}, got: {error.strerror}; name another folder with --out"
        ) from error
    return target
