"""Everything that can be configured: one frozen dataclass a section, a unit in every name, every default explained.

``config.py`` reads these from TOML; the command line overrides them.
"""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    id: str = ""
    """Names the device in topics and as MQTT client id, [a-zA-Z0-9_-]; empty: the host's name."""
    state_dir: Path = Path("/var/lib/emotion-edge")
    """Outbox and persisted switches; where it can't be written, a folder under the user's state directory serves."""


@dataclass(frozen=True, slots=True)
class CameraSettings:
    source: str = "picamera"
    """picamera, usb:0, rtsp://..., a video file, a folder of images."""
    width: int = 640
    height: int = 480
    """The working size asked of a live camera; what it gives is read back."""
    fps: float = 15.0
    rotate_deg: int = 0
    """0, 90, 180 or 270, clockwise, for a camera mounted on its side."""
    stall_s: float = 3.0
    """No frame for so long: stalled, then reopened."""
    frozen_s: float = 4.0
    """Pixel-identical or black frames for so long: stalled, then reopened. 0: never."""
    reopen_min_s: float = 1.0
    reopen_max_s: float = 30.0
    """Back-off between attempts to reopen."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    kind: str = "auto"
    """auto (YuNet where its file is, else Haar), yunet, haar, yunet-tflite."""
    model: Path | None = None
    """YuNet's .onnx file, or the face bundle's folder for yunet-tflite; None: the usual place."""
    score_threshold: float = 0.7
    """Below YuNet's usual .9, which misses half of the small faces."""
    working_width_px: int = 320
    """Frames wider than this are shrunk for detection; boxes come back in the frame's own pixels."""


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    bundle: Path = Path("models/emotion")
    backend: str = "auto"
    """auto (Edge TPU where there is one, else CPU), cpu, edgetpu."""
    threads: int = 1
    """More only helps where a core is idle."""
    deadline_s: float = 0.5
    """An accelerator that answers later than this has hung."""
    start_s: float = 30.0
    """An accelerator that is not ready by then (driver, firmware, model) has failed to start."""
    recheck_s: float = 30.0
    """How often a serving accelerator must answer a golden input right."""
    retry_min_s: float = 5.0
    retry_max_s: float = 300.0
    """Back-off between attempts to take the accelerator back."""


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    max_age_s: float = 0.8
    """A face unseen for so long has left."""
    min_hits: int = 3
    """Detections before a track is believed: Haar sees static false faces."""
    gate: float = 0.6
    """Largest centre distance of a match, as a share of the box's size."""


@dataclass(frozen=True, slots=True)
class JudgementSettings:
    """Which faces are judged, and how steady and how quick what is announced is.

    The limits of what is judged come from ``python -m benchmarks.quality --data fer2013.csv --rows 3589`` (PublicTest
    faces, of which 71 % are right as they are), the rest from ``python -m benchmarks.judgement --sweep``.
    """

    min_face_px: int = 24
    """Faces whose box is less high are tracked, not judged: 63 % are right at 24, 52 % at 20."""
    min_sharpness: float = 0.03
    """Variance of the Laplacian of the 48x48 crop, as a share of the crop's variance, below which it is blurred:
    52 % are right at a median of .037, 44 % at .024."""
    min_brightness: float = 30.0
    """Mean grey level below which a face is too dark: 52 % are right at 30 with a noise of two levels, 37 % at 20."""
    max_yaw: float = 0.6
    """How far the nose may be off the eyes' middle, as a share of the eye distance: .6 is a head turned by about 55
    degrees. Of the 58 PublicTest faces beyond .5, 59 % are right."""
    confidence_threshold: float = 0.35
    """Smoothed calibrated probability below which the emotion is unknown. It is taken up a hysteresis above that: 76 %
    are right of the 86 % of PublicTest that reach .45."""
    smoothing_s: float = 0.3
    """Time constant of the exponential smoothing of probabilities."""
    hysteresis: float = 0.1
    """By how much a new label must beat the current one or, after unknown, exceed the threshold."""
    dwell_s: float = 0.3
    """How long a new label must lead before it is an event.

    On the development clips smoothing .3, hysteresis .1 and dwell .3 turn 78 raw changes a minute into 13 events with
    a median delay of .5 s, 17 % of the time unknown (most of it in two dithered GIFs of small faces); without all three
    there are 96 events and 10 % unknown; smoothing .6 and dwell .7 leave 9 events with 1.0 s and 14 %."""
    max_changes_per_minute: int = 20
    """Per face; further changes are dropped and counted, starts and ends never. The longest development clip
    has 6 a minute, so this only stops a fault."""


@dataclass(frozen=True, slots=True)
class MqttSettings:
    broker: str = ""
    """mqtt://host:port or mqtts://host:port; empty: JSON lines on standard output."""
    username: str = ""
    password_file: Path | None = None
    """Or the systemd credential ``mqtt-password``; a password never stands in the configuration."""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    allow_plaintext_password: bool = False
    """Send a password without TLS to another host."""
    topic_prefix: str = "emotion"
    keepalive_s: int = 30
    event_expiry_s: int = 86400
    """MQTT 5 message expiry of events."""
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 60.0
    outbox_events: int = 10000
    """Bound of the outbox; beyond it the oldest ``change`` events go first."""
    status_s: float = 60.0
    stats_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LifeSettings:
    rss_limit_mb: float = 512.0
    """Above this the process ends cleanly, so that systemd starts it afresh."""
    heat_soft_c: float = 75.0
    heat_hard_c: float = 80.0
    """Between the two the frame rate sinks, before the Pi throttles itself at 80 to 85 degrees."""
    log_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    device: DeviceSettings = field(default_factory=DeviceSettings)
    camera: CameraSettings = field(default_factory=CameraSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    judgement: JudgementSettings = field(default_factory=JudgementSettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    life: LifeSettings = field(default_factory=LifeSettings)
