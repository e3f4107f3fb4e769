"""The composition root: Settings to parts, parts to a running appliance, everything closed in reverse order."""

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from edge import __version__
from edge.appliance import Appliance
from edge.bundle import Bundle, load_bundle
from edge.cameras.open import open_source
from edge.cameras.source import parse_source
from edge.cameras.thread import NOT_OPENED, CameraThread
from edge.classifiers.emotion import BundleClassifier
from edge.errors import ConfigError
from edge.fetch import YUNET_FILE, yunet_is_whole
from edge.frame_slot import LatestFrame
from edge.interfaces import EventSink, FaceDetector, TensorModel
from edge.life import Signals, peak_rss_mb
from edge.parts import Backend, Delivery, Parts, Straight
from edge.pipeline import Pipeline
from edge.records import Frame, Identity
from edge.runtimes.backends import emotion_network, open_networks
from edge.settings import CameraSettings, DetectorSettings, MqttSettings, Settings
from edge.switches import SwitchBoard

log = logging.getLogger("edge.run")

OPENING_S = 5.0
"""A camera that was asked to open so recently is not yet missed."""


def _yunet(settings: DetectorSettings, _: TensorModel | None) -> FaceDetector:
    from edge.detectors.yunet import YunetDetector

    return YunetDetector(settings.model or YUNET_FILE, settings.score_threshold, settings.working_width_px)


def _haar(settings: DetectorSettings, _: TensorModel | None) -> FaceDetector:
    from edge.detectors.haar import HaarDetector

    return HaarDetector(settings.working_width_px)


def _yunet_tflite(settings: DetectorSettings, model: TensorModel | None) -> FaceDetector:
    from edge.detectors.yunet_tflite import YunetTfliteDetector

    assert model is not None, "open_models opens one for this detector"
    return YunetTfliteDetector(model, settings.score_threshold)


def _stdout(_: MqttSettings, identity: Identity, __: Path, ___: SwitchBoard) -> tuple[EventSink, Delivery]:
    from edge.sinks.stdout import JsonLinesSink

    return JsonLinesSink(sys.stdout, identity), Straight()


def _mqtt(
    settings: MqttSettings, identity: Identity, state_dir: Path, switches: SwitchBoard
) -> tuple[EventSink, Delivery]:
    from edge.sinks.mqtt import MqttSink

    sink = MqttSink(settings, identity, state_dir, switches)
    return sink, sink


MAKERS: dict[str, dict[str, Callable[..., Any]]] = {
    "detector": {"yunet": _yunet, "haar": _haar, "yunet-tflite": _yunet_tflite},
    "sink": {"stdout": _stdout, "mqtt": _mqtt},
}
"""Every choice by name; each imports its adapter only when chosen. Cameras are chosen by edge/cameras/open.py, runtimes
by edge/runtimes/backends.py."""


@dataclass(frozen=True, slots=True)
class Models:
    """Detector and classifier, and what runs them."""

    detector: FaceDetector
    classifier: BundleClassifier
    emotion: Backend
    face: Backend | None
    """What runs the detector's network, where that is one of ours."""
    second_best: str | None
    """One sentence where ``auto`` had to take a lesser detector."""

    def close(self) -> None:
        self.classifier.close()
        self.detector.close()


def choose_detector(settings: DetectorSettings) -> tuple[str, str | None]:
    """The kind, and one sentence where ``auto`` has to take the second best."""
    if settings.kind != "auto":
        return settings.kind, None
    file = settings.model or YUNET_FILE
    if yunet_is_whole(file):
        return "yunet", None
    state = "is damaged" if file.is_file() else "is missing"
    return (
        "haar",
        f"YuNet's file {file.name} {state}, so Haar finds the faces, and misses more; run python -m edge fetch",
    )


def open_models(settings: Settings, bundle: Bundle) -> Models:
    """Both networks on one runtime, on the ladder between Edge TPU and CPU where that is configured."""
    kind, second_best = choose_detector(settings.detector)
    networks = [emotion_network(bundle, settings.classifier)]
    if kind == "yunet-tflite":
        from edge.detectors.face_bundle import FACE_BUNDLE, face_network

        networks.append(face_network(settings.detector.model or FACE_BUNDLE, settings.classifier))
    emotion, *rest = open_networks(networks, settings.classifier)
    face = rest[0] if rest else None
    detector = MAKERS["detector"][kind](settings.detector, face)
    return Models(detector, BundleClassifier(emotion, bundle), emotion, face, second_best)


class ThreadedCamera:
    """A CameraThread and its slot as one Camera. ``fast``: no frame is dropped."""

    def __init__(self, settings: CameraSettings, fast: bool) -> None:
        self.ended = self.closed = False
        self._slot = LatestFrame(drops=not fast)
        self._thread = CameraThread(partial(open_source, settings, fast), settings, self._slot)
        self._started = False
        self._opened_s = 0.0

    @property
    def condition(self) -> str:
        opening = self._thread.reason == NOT_OPENED and time.monotonic() - self._opened_s < OPENING_S
        return "ok" if opening or not self._started else self._thread.condition

    @property
    def reason(self) -> str:
        return self._thread.reason

    @property
    def dropped(self) -> int:
        return self._thread.dropped

    def open(self) -> None:
        """Start, or open again after ``pause``."""
        self._opened_s = time.monotonic()
        if self._started:
            self._thread.resume()
        else:
            self._started = True
            self._thread.start()

    def pause(self) -> None:
        """Close the device; ``open`` opens it again."""
        if self._started:
            self._thread.pause()

    def take(self, timeout_s: float) -> Frame | None:
        finished = self._thread.finished
        frame = self._slot.take(timeout_s)
        if frame is None and finished:
            self.ended = True
            if self._thread.exception is not None:
                raise self._thread.exception
        return frame

    def close(self) -> None:
        """Stop; ``closed`` stays false where a thread hangs in the camera's driver, see CameraThread.close."""
        self.closed = self._thread.close()


def identity_of(settings: Settings, bundle: Bundle) -> Identity:
    """Who speaks. The device is named by the configuration, else by the host; a file without its folders."""
    host = re.sub(r"[^a-zA-Z0-9_-]", "-", socket.gethostname())[:64]
    source = parse_source(settings.camera.source)
    camera = Path(source.name).name if source.kind in ("video", "pictures") else source.name
    return Identity(settings.device.id or host or "camera", camera, bundle.name, bundle.version, __version__)


def state_dir_of(settings: Settings) -> Path:
    """A folder that can be written: the configured one, else one of the user's own, which the log names."""
    wanted = settings.device.state_dir
    # expanduser, because a service's DynamicUser may have no home at all: then "~" stays as it is.
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    for folder in (wanted, Path(home, "emotion-edge")):
        if not folder.is_absolute():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError:
            continue
        if folder != wanted:
            log.info("%s can't be written, so outbox and switches are kept in %s", wanted, folder)
        return folder
    raise ConfigError(
        f"expected a folder that can be written at device.state_dir, neither {wanted} nor {home} can be; name one"
    )


def compose(settings: Settings, fast: bool, stack: ExitStack) -> Parts:
    """Open what the settings name; ``stack`` closes it. Raises the leaf that says what could not be opened."""
    # OpenCV would take every core: on two busy ones that doubles YuNet's and Haar's time (measured).
    cv2.setNumThreads(settings.classifier.threads)
    bundle = load_bundle(settings.classifier.bundle)
    models = open_models(settings, bundle)
    stack.callback(models.close)
    detector = models.detector
    _, height, width, _ = bundle.input.shape
    geometry = bundle.crop(detector.name)
    pipeline = Pipeline(detector, models.classifier, geometry, (height, width), settings.tracking, settings.judgement)
    state_dir = state_dir_of(settings)
    switches = SwitchBoard(state_dir, settings.judgement.confidence_threshold)
    identity = identity_of(settings, bundle)
    make_sink = MAKERS["sink"]["mqtt" if settings.mqtt.broker else "stdout"]
    sink, delivery = make_sink(settings.mqtt, identity, state_dir, switches)
    stack.callback(sink.close)
    camera = ThreadedCamera(settings.camera, fast)
    stack.callback(camera.close)
    log.info(
        "camera %s, detector %s, model %s %s on %s, events to %s",
        *(identity.camera, detector.name, bundle.name, bundle.version, models.emotion.backend),
        settings.mqtt.broker or "standard output",
    )
    return Parts(
        camera=camera,
        pipeline=pipeline,
        detector=detector.name,
        backend=models.emotion,
        face_backend=models.face,
        sink=sink,
        switches=switches,
        delivery=delivery,
        fallbacks={"detector": models.second_best} if models.second_best else {},
        fast=fast,
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    code: int
    frames: int
    fps: float
    dropped: int
    faces: int
    events: int
    latency_p50_ms: float
    latency_p95_ms: float
    detector: str
    backend: str


def run(settings: Settings, fast: bool = False, reload: Callable[[], Settings] | None = None) -> Outcome:
    """Compose, serve, close: ``end`` events, then ``offline``, then everything else."""
    with Signals() as signals, ExitStack() as stack:
        parts = compose(settings, fast, stack)
        appliance = Appliance(settings, parts, signals, reload)
        code = appliance.serve()
        frames = appliance.reporter.run.total
        fps, p50_ms, p95_ms = appliance.reporter.run.take(time.monotonic())
    log.info(
        "%d frames, %.1f a second, %d faces, %d events, %.0f MB at most",
        *(frames, fps, appliance.faces, appliance.events, peak_rss_mb()),
    )
    if not parts.camera.closed:
        # A thread that hangs in the camera's driver can't be ended, and may abort the interpreter's own shutdown.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return Outcome(
        code=code,
        frames=frames,
        fps=fps,
        dropped=parts.camera.dropped,
        faces=appliance.faces,
        events=appliance.events,
        latency_p50_ms=p50_ms,
        latency_p95_ms=p95_ms,
        detector=parts.detector,
        backend=parts.backend.backend,
    )
