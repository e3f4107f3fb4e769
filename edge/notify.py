"""systemd's notification protocol (sd_notify(3)), without a library: one datagram a message.

Without ``NOTIFY_SOCKET`` (not started by systemd) every call does nothing.
"""

import os
import socket
from collections.abc import Mapping

SEND_S = 0.1
"""Longest wait for a systemd that does not read its socket."""


class Notifier:
    """Tells systemd that the program is ready, what it does and that it makes progress."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(SEND_S)
        usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() and mine else None
        """Silence for so long is answered with a kill; None: no watchdog."""
        self._fed_s = float("-inf")

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("STATUS=" + " ".join(text.split()))

    def reloading(self, monotonic_s: float) -> None:
        """Answered by a later ``ready``."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1e6)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def progress(self, monotonic_s: float) -> None:
        """Feed the watchdog; at most eight times in its interval reach systemd, so a call a frame is fine."""
        if self.watchdog_s is not None and monotonic_s - self._fed_s >= self.watchdog_s / 8:
            self._fed_s = monotonic_s
            self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            # systemd is busy or gone. A lost message is repeated by the next; blocking or failing would be worse.
            return
