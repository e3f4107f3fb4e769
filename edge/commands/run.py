"""``python -m edge run``: watch a camera or file and publish emotion events."""

import argparse
from functools import partial
from pathlib import Path

from edge.config import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML; every key is in systemd/emotion-edge.toml")
    parser.add_argument("--source", metavar="S", help="picamera, usb:0, rtsp://..., a video file, a folder of images")
    parser.add_argument("--broker", metavar="URL", help="mqtt://host:port or mqtts://host:port; else JSON lines here")
    parser.add_argument("--device-id", metavar="ID", help="names the device in topics; else the host's name")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="the model bundle; else models/emotion")
    parser.add_argument("--fast", action="store_true", help="take every frame of a file, without waiting")


def run(args: argparse.Namespace) -> int:
    """Exit code 0 at the end of a file or on SIGTERM; 1 on a failure or to be started afresh."""
    flags = {
        "camera.source": args.source,
        "mqtt.broker": args.broker,
        "device.id": args.device_id,
        "classifier.bundle": args.bundle,
    }
    load = partial(load_settings, args.config, flags)
    settings = load()

    from edge.app import run as serve

    return serve(settings, args.fast, load).code
