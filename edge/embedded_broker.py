"""A real MQTT broker on a free loopback port, for the demo and for tests: mosquitto where it is installed, else amqtt
(pure Python, MQTT 3.1.1 only)."""

import asyncio
import logging
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.errors import BrokerError

HOST = "127.0.0.1"
START_S = 30.0
STOP_S = 3.0
ATTEMPTS = 5
"""Another program may take the free port between finding it and listening on it."""


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A running broker that anyone on this machine may use, and nobody else."""

    name: str
    """e.g. ``mosquitto 2.0.11`` or ``amqtt 0.12.1``."""
    port: int
    pid: int | None = None
    """None where it runs in this process."""

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"


@contextmanager
def embedded_broker(mosquitto: str | None = None, options: tuple[str, ...] = ()) -> Iterator[EmbeddedBroker]:
    """A broker for the length of the block. mosquitto: its program; None looks for it; ``""`` takes amqtt. options:
    further lines of mosquitto.conf.

    Raises BrokerError where neither can be started.
    """
    program = find_mosquitto() if mosquitto is None else mosquitto
    with _mosquitto(program, options) if program else _amqtt() as broker:
        yield broker


def find_mosquitto() -> str | None:
    """The mosquitto program; Debian keeps it in /usr/sbin, which is not on every user's path."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_listening(port: int, process: subprocess.Popen[bytes], deadline_s: float = START_S) -> bool:
    """True once the port accepts connections, False when the process ended or the time is up."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection((HOST, port), timeout=1):
                return process.poll() is None
        except OSError:
            time.sleep(0.02)
    return False


@contextmanager
def _mosquitto(program: str, options: tuple[str, ...]) -> Iterator[EmbeddedBroker]:
    with tempfile.TemporaryDirectory(prefix="emotion-edge-broker-") as folder:
        process, port, log = _start_mosquitto(program, Path(folder), options)
        try:
            version = re.search(rb"mosquitto version (\S+)", log.read_bytes())
            yield EmbeddedBroker(f"mosquitto {version[1].decode()}" if version else "mosquitto", port, process.pid)
        finally:
            stop_process(process)


def _start_mosquitto(program: str, folder: Path, options: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], int, Path]:
    config, log = folder / "mosquitto.conf", folder / "mosquitto.log"
    for _ in range(ATTEMPTS):
        port = free_port()
        lines = (f"listener {port} {HOST}", "allow_anonymous true", "persistence false", *options)
        config.write_text("\n".join(lines) + "\n")
        folder.chmod(0o755)
        config.chmod(0o644)  # started by root, mosquitto gives its rights up
        with log.open("wb") as output:
            # A session of its own: Ctrl-C must reach it only after the last messages.
            process = subprocess.Popen(
                [program, "-c", str(config)], stdout=output, stderr=output, start_new_session=True
            )
        if wait_until_listening(port, process):
            return process, port, log
        stop_process(process)
    said = log.read_text(errors="replace").strip().splitlines()
    raise BrokerError(f"{program} was expected to listen on {HOST}, it ended: {said[-1] if said else 'no output'}")


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _amqtt() -> Iterator[EmbeddedBroker]:
    try:
        from amqtt import __version__
        from amqtt.broker import Broker
    except ImportError as error:
        raise BrokerError(
            "a broker was expected, neither mosquitto nor amqtt is installed; "
            "run `sudo apt install mosquitto`, or name one with --broker"
        ) from error
    for noisy in ("amqtt", "transitions"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    port = free_port()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    failures: list[Exception] = []

    async def serve() -> None:
        try:
            broker = Broker(config, loop=loop)
            await broker.start()
        except Exception as error:
            failures.append(error)
            return
        finally:
            started.set()
        await stop.wait()
        await broker.shutdown()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="amqtt", daemon=True)
    thread.start()
    try:
        if not started.wait(START_S) or failures:
            raise BrokerError(f"amqtt was expected to listen on {HOST}:{port}, it did not: {failures or 'no answer'}")
        yield EmbeddedBroker(f"amqtt {__version__}", port)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_S)
        if not thread.is_alive():
            loop.close()
