"""What ``run`` takes of a machine: resident memory, CPU, frames a second, as the operating system sees the process.

    python -m benchmarks.appliance                      a 640x480 clip at 15 frames a second, played as a camera
    python -m benchmarks.appliance --fast --source CLIP every frame of a clip, as fast as it goes

One row for each detector whose weights are there (YuNet: ``python -m edge fetch``, or --yunet FILE), on the runtime of
the Python that runs this. The clip is the demo's, or --source, resized and repeated to --seconds. Events go to
mosquitto, or the pure-Python broker, on this machine. CPU is of one core, after the first WARM_UP_S.
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2

from edge.cameras.video_file import VideoFile
from edge.demo import CLIP
from edge.embedded_broker import embedded_broker
from edge.fetch import YUNET_FILE, yunet_is_whole
from edge.runtimes.tflite import runtime_name

WARM_UP_S = 3.0
LOOK_S = 0.2
SIZE, FPS = (640, 480), 15.0
TICKS = os.sysconf("SC_CLK_TCK")


def camera_clip(source: Path, target: Path, seconds: float) -> Path:
    """``source`` at 640x480 and 15 frames a second, again and again until it lasts ``seconds``."""
    video = VideoFile(source, fast=True)
    images = [cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA) for frame in iter(video.read, None)]
    video.close()
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
    for image in itertools.islice(itertools.cycle(images), round(seconds * FPS)):
        writer.write(image)
    writer.release()
    return target


def cpu_s(pid: int) -> float:
    """CPU seconds of the process so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident now, and the most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def measure(clip: Path, config: Path, broker: str, fast: bool) -> dict[str, Any]:
    """Run the appliance over the clip in a process of its own."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "edge",
        "run",
        "--config",
        config,
        "--source",
        clip,
        "--broker",
        broker,
    ]
    child = subprocess.Popen([*command, *(["--fast"] if fast else [])], stderr=subprocess.PIPE, text=True)
    began_s = time.monotonic()
    looks = []
    while child.poll() is None:
        try:
            looks.append((time.monotonic() - began_s, cpu_s(child.pid), *memory_mb(child.pid)))
        except (OSError, IndexError):  # it has just ended
            break
        time.sleep(LOOK_S)
    log = child.communicate()[1]
    told = re.search(r"([0-9]+) frames, ([0-9.]+) a second, ([0-9]+) faces, ([0-9]+) events", log)
    if child.returncode or told is None or not looks:
        raise SystemExit(f"run ended with {child.returncode}: {log}")
    steady = [look for look in looks if look[0] >= WARM_UP_S] or looks
    elapsed_s = steady[-1][0] - steady[0][0]
    return {
        "detector": re.findall(r"detector ([a-z-]+),", log)[0],
        "frames": int(told[1]),
        "fps": float(told[2]),
        "faces": int(told[3]),
        "events": int(told[4]),
        "cpu_percent": round(100 * (steady[-1][1] - steady[0][1]) / elapsed_s, 1) if elapsed_s else None,
        "cpu_s_in_all": looks[-1][1],
        "rss_mb": round(steady[-1][2], 1),
        "rss_most_mb": round(looks[-1][3], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=CLIP)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the clip that is played as a camera")
    parser.add_argument("--fast", action="store_true", help="the source as it is, every frame, without waiting")
    parser.add_argument("--yunet", type=Path, default=YUNET_FILE, help="YuNet's weights")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    detectors = {"haar": ""}
    if yunet_is_whole(args.yunet):
        detectors = {"yunet": f"model = '{args.yunet.absolute()}'", **detectors}
    rows = []
    with tempfile.TemporaryDirectory(prefix="emotion-edge-appliance-") as name, embedded_broker() as broker:
        folder = Path(name)
        clip = args.source if args.fast else camera_clip(args.source, folder / "camera.mp4", args.seconds)
        for kind, model in detectors.items():
            config = folder / f"{kind}.toml"
            config.write_text(f"[device]\nstate_dir = '{folder}'\n[detector]\nkind = '{kind}'\n{model}\n")
            rows.append(measure(clip.absolute(), config, broker.url, args.fast))
    if args.json:
        print(json.dumps({"runtime": runtime_name(), "broker": broker.name, "fast": args.fast, "rows": rows}, indent=2))
        return 0
    played = "every frame, as fast as it goes" if args.fast else "640x480 at 15 frames a second"
    print(f"{args.source.name}, {played}; {runtime_name()}, {broker.name}, {os.cpu_count()} CPUs\n")
    print(f"{'detector':<10}{'frames':>8}{'fps':>8}{'CPU':>8}{'RSS MB':>9}{'at most':>9}{'faces':>7}{'events':>8}")
    for row in rows:
        cpu = "-" if row["cpu_percent"] is None else f"{row['cpu_percent']:.0f} %"
        print(
            f"{row['detector']:<10}{row['frames']:>8}{row['fps']:>8.1f}{cpu:>8}{row['rss_mb']:>9.0f}"
            f"{row['rss_most_mb']:>9.0f}{row['faces']:>7}{row['events']:>8}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
