"""From a parsed Source to the adapter that reads it; adapters are imported only when chosen."""

from pathlib import Path

from edge.cameras.source import Source, parse_source
from edge.interfaces import FrameSource
from edge.settings import CameraSettings


def open_source(settings: CameraSettings, fast: bool = False) -> FrameSource:
    """Open ``settings.source``, turned by ``settings.rotate_deg``. ``fast``: files and folders play without waiting.

    Raises ConfigError where the settings or the installation can't work, SourceError where the source is not there.
    """
    source = _open(parse_source(settings.source), settings, fast)
    if settings.rotate_deg:
        from edge.cameras.rotation import Rotated

        return Rotated(source, settings.rotate_deg)
    return source


def _open(source: Source, settings: CameraSettings, fast: bool) -> FrameSource:
    match source.kind:
        case "picamera":
            from edge.cameras.picamera import Picamera

            return Picamera(settings, int(source.address))
        case "usb":
            from edge.cameras.usb import UsbCamera

            return UsbCamera(Path(source.address), settings, source.name)
        case "network":
            from edge.cameras.network import NetworkCamera

            return NetworkCamera(source.address, source.name)
        case "pictures":
            from edge.cameras.image_folder import ImageFolder

            return ImageFolder(Path(source.address), settings.fps, fast)
        case "video":
            from edge.cameras.video_file import VideoFile

            return VideoFile(Path(source.address), fast)
