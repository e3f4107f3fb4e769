"""The real detectors on real pictures and clips."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.detectors.haar import HaarDetector
from edge.detectors.working_size import shrink
from edge.detectors.yunet import YUNET_SHA256, YunetDetector
from edge.errors import BundleError
from edge.interfaces import FaceDetector
from tests import devdata


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.fixture
def yunet() -> YunetDetector:
    return YunetDetector(devdata.yunet())


def picture(name: str) -> NDArray[np.uint8]:
    image = cv2.imread(str(devdata.media(name)))
    assert image is not None
    return np.asarray(image, np.uint8)


def frames(name: str, every: int) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(devdata.media(name)))
    found: list[NDArray[np.uint8]] = []
    while True:
        good, image = capture.read()
        if not good:
            return found[::every]
        found.append(np.asarray(image, np.uint8))


# obama_and_biden.jpg holds a third face: a girl at the lower right, half in shadow.
@pytest.mark.parametrize(
    ("name", "by_yunet", "by_haar"),
    [
        ("obama.jpg", 1, 1),
        ("grace_hopper.bmp", 1, 1),
        ("obama_and_biden.jpg", 3, 2),
        ("multi_face.jpg", 5, 4),
        ("free-mountain-vector-01.jpg", 0, 0),
    ],
)
def test_faces_in_pictures(yunet: YunetDetector, name: str, by_yunet: int, by_haar: int) -> None:
    image = picture(name)
    assert len(yunet.detect(image)) == by_yunet
    assert len(HaarDetector().detect(image)) == by_haar


def test_the_two_men_are_where_they_are_in_the_frames_own_pixels(yunet: YunetDetector) -> None:
    image = picture("obama_and_biden.jpg")
    for detector in (yunet, HaarDetector()):
        for x, y in ((848, 510), (1232, 480)):
            boxes = [face.box for face in detector.detect(image)]
            assert any(b.left < x < b.left + b.width and b.top < y < b.top + b.height for b in boxes), detector.name


def test_landmarks_are_the_subjects_right_and_left(yunet: YunetDetector) -> None:
    (face,) = yunet.detect(picture("obama.jpg"))
    points, box = face.landmarks, face.box
    assert points is not None
    assert points.right_eye[0] < points.nose[0] < points.left_eye[0]
    assert points.mouth_right[0] < points.mouth_left[0]
    assert (
        max(points.right_eye[1], points.left_eye[1]) < points.nose[1] < min(points.mouth_right[1], points.mouth_left[1])
    )
    for x, y in (points.right_eye, points.left_eye, points.nose, points.mouth_right, points.mouth_left):
        assert box.left < x < box.left + box.width and box.top < y < box.top + box.height


def test_eyes_and_mouth_lie_in_the_crop_as_in_fer2013(yunet: YunetDetector) -> None:
    """facts: eyes at .38, eye distance .36, mouth at .75 of the square that is .98 of YuNet's box height."""
    shares = []
    images = [picture("obama.jpg"), picture("grace_hopper.bmp"), picture("multi_face.jpg")]
    for image in images + frames("single_face.mp4", 24) + frames("again.mkv", 25):
        for face in yunet.detect(image):
            points, side = face.landmarks, 0.98 * face.box.height
            assert points is not None
            top = face.box.centre[1] - side / 2
            eyes = (points.right_eye[1] + points.left_eye[1]) / 2
            mouth = (points.mouth_right[1] + points.mouth_left[1]) / 2
            shares.append(
                ((eyes - top) / side, (points.left_eye[0] - points.right_eye[0]) / side, (mouth - top) / side)
            )
    assert np.median(shares, axis=0) == pytest.approx([0.38, 0.36, 0.74], abs=0.04)


def test_the_largest_scores_come_first_and_weak_ones_not_at_all() -> None:
    detector = YunetDetector(devdata.yunet(), score_threshold=0.8)
    scores = [face.confidence for face in detector.detect(picture("obama_and_biden.jpg"))]
    assert scores == sorted(scores, reverse=True) and len(scores) == 2
    assert all(0.8 <= score <= 1.0 for score in scores)


def test_clips_with_and_without_faces(yunet: YunetDetector) -> None:
    assert [len(yunet.detect(image)) for image in frames("no_face.mp4", 5)] == [0] * 19
    assert [len(yunet.detect(image)) for image in frames("single_face.mp4", 8)] == [1] * 9
    appears = [len(yunet.detect(image)) for image in frames("noface_face.mov", 8)]
    assert appears == [0] * 12 + [1] * 9 + [0]  # the last picture is a title again


def test_frames_of_any_size_one_after_another(yunet: YunetDetector) -> None:
    face = picture("obama.jpg")
    for detector in (yunet, HaarDetector()):
        for size in ((480, 640), (1, 1), (1920, 1080), (3, 2000), (2000, 3), (240, 320), (37, 41)):
            assert isinstance(detector.detect(np.zeros((*size, 3), np.uint8)), list)
        assert len(detector.detect(face)) == 1
        detector.close()


def test_a_4k_frame_gives_boxes_in_its_own_pixels(yunet: YunetDetector) -> None:
    image = picture("obama.jpg")
    large = np.asarray(cv2.resize(image, None, fx=3, fy=3), np.uint8)
    (small_face,), (large_face,) = yunet.detect(image), yunet.detect(large)
    assert large_face.box.centre == pytest.approx([3 * x for x in small_face.box.centre], rel=0.03)
    assert large_face.box.height == pytest.approx(3 * small_face.box.height, rel=0.08)


def test_shrink_never_enlarges_and_returns_the_way_back() -> None:
    image = np.zeros((101, 333, 3), np.uint8)
    assert shrink(image, 640) == (image, 1.0, 1.0)
    small, x, y = shrink(image, 100)
    assert small.shape == (30, 100, 3)
    assert (x, y) == pytest.approx((3.33, 101 / 30))


def test_a_missing_or_wrong_model_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"expected YuNet's model file at .*absent.onnx.*python -m edge fetch.*haar"):
        YunetDetector(tmp_path / "absent.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a network")
    with pytest.raises(BundleError, match=rf"sha256 {YUNET_SHA256[:12]}.*13 bytes.*python -m edge fetch"):
        YunetDetector(damaged)


def test_detectors_are_stateless(yunet: YunetDetector) -> None:
    image, other = picture("multi_face.jpg"), picture("obama.jpg")
    detectors: list[FaceDetector] = [yunet, HaarDetector()]
    for detector in detectors:
        first = detector.detect(image)
        detector.detect(other)
        assert detector.detect(image) == first


def test_haar_without_cascades_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(OSError, match="install opencv-python-headless 4"):
        HaarDetector()
