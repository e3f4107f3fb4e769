"""``python -m edge demo``: the main job with nothing set up, from a clip to what a subscriber receives."""

import argparse
import logging
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from edge.config import load_settings
from edge.errors import EXIT_FAILURE, DownloadError

log = logging.getLogger("edge.demo")

FETCH_S = 20.0
"""For YuNet's 230 KB; without a network the demo shall not wait long."""
GOODBYE_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="S", help="your own: 0 for a USB camera, a video file ...; Ctrl-C ends it")


def run(args: argparse.Namespace) -> int:
    return demo(args.source)


def demo(source: str | None = None, fast: bool = False, mosquitto: str | None = None, fetch: bool = True) -> int:
    """Run the real pipeline into a real broker and print what a subscriber receives, then a summary.

    mosquitto: its program; None looks for it, ``""`` takes the pure-Python broker. 0 where every event arrived.
    """
    from edge.app import run as serve
    from edge.demo import CLIP
    from edge.demo.subscriber import subscriber
    from edge.embedded_broker import HOST, embedded_broker
    from edge.runtimes.tflite import runtime_name

    if fetch:
        _fetch_yunet()
    settings = load_settings(None, {"camera.source": source or str(CLIP), "device.id": "demo"})
    with tempfile.TemporaryDirectory(prefix="emotion-edge-demo-") as folder, embedded_broker(mosquitto) as broker:
        log.info("broker: %s at %s", broker.name, broker.url)
        settings = replace(
            settings,
            device=replace(settings.device, state_dir=Path(folder)),
            mqtt=replace(settings.mqtt, broker=broker.url, stats_s=10.0),
        )
        with subscriber(HOST, broker.port, f"{settings.mqtt.topic_prefix}/demo/#", sys.stdout) as listener:
            outcome = serve(settings, fast)
            complete = listener.offline.wait(GOODBYE_S)
    kinds = Counter(event["event_type"] for event in listener.events)
    received = len({event["id"] for event in listener.events})
    print(
        f"\nframes      {outcome.frames}, {outcome.fps:.1f} a second, {outcome.dropped} dropped\n"
        f"faces       {outcome.faces}\n"
        f"events      {outcome.events} published, {received} received"
        f" ({', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items())) or 'none'})\n"
        f"latency     p50 {outcome.latency_p50_ms:.1f} ms, p95 {outcome.latency_p95_ms:.1f} ms, picture to event\n"
        f"detector    {outcome.detector}\n"
        f"runtime     {outcome.backend}, {runtime_name()}\n"
        f"broker      {broker.name}"
    )
    if outcome.code == 0 and not (complete and received == outcome.events):
        log.error("expected every event and `offline` at the subscriber, got %d of %d", received, outcome.events)
        return EXIT_FAILURE
    return outcome.code


def _fetch_yunet() -> None:
    """The set-up step, tried for the user; without it the demo works too, with Haar."""
    from edge.fetch import YUNET_FILE, fetch_yunet, yunet_is_whole

    if yunet_is_whole():
        return
    log.info("fetching the face detector YuNet (230 KB) to %s ...", YUNET_FILE)
    try:
        fetch_yunet(timeout_s=FETCH_S)
    except DownloadError as error:
        log.warning("YuNet could not be fetched, so Haar finds the faces: %s", error)
