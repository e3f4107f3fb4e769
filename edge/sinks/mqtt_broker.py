"""Which broker, and with what credentials: settings checked once at the start, files read again at every connect, so
that a renewed certificate or a changed password needs no restart."""

import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge.errors import ConfigError
from edge.settings import MqttSettings

CREDENTIAL = "mqtt-password"
"""Name of the systemd credential that holds the password."""
PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether messages stay on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None


def parse_broker(url: str) -> BrokerAddress:
    """``mqtt://host[:port]`` or ``mqtts://host[:port]``; ports 1883 and 8883 unless named. Raises ConfigError."""
    expected = "expected mqtt.broker as mqtt://host:port or mqtts://host:port"
    if "@" in url:  # not repeated: it may hold a password, which must not stand in a log
        raise ConfigError(f"{expected}, got one with a user name in it; use mqtt.username and mqtt.password_file")
    mend = "name the broker's machine, and its port where that is not 1883 or 8883"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{expected}, got {url!r} ({error}); {mend}") from None
    more = parts.path not in ("", "/") or parts.query or parts.fragment or any(c.isspace() for c in url)
    if parts.scheme not in PORTS or not parts.hostname or port == 0 or more:
        raise ConfigError(f"{expected}, got {url!r}; {mend}")
    return BrokerAddress(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts")


def load_credentials(settings: MqttSettings, address: BrokerAddress) -> Credentials:
    """Username, password and TLS context as configured. Raises ConfigError naming the key that can't be used."""
    password = _password(settings.password_file)
    if password is not None and not settings.username:
        raise ConfigError("expected mqtt.username beside a password, it is empty; name the broker's user")
    if password is not None and not (address.tls or address.is_loopback or settings.allow_plaintext_password):
        raise ConfigError(
            f"expected TLS for a password to {address.host}, mqtt.broker is {address}; "
            "use mqtts://, or set mqtt.allow_plaintext_password = true"
        )
    if not address.tls:
        _refuse_tls_files(settings)
    return Credentials(settings.username or None, password, _tls(settings) if address.tls else None)


def _password(configured: Path | None) -> str | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if configured is not None:
        path, key = configured, "mqtt.password_file"
    elif folder and (Path(folder) / CREDENTIAL).exists():
        path, key = Path(folder) / CREDENTIAL, f"the systemd credential {CREDENTIAL}"
    else:
        return None
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected {key} to be a readable file, {path} is not ({_reason(error)}); mend it") from None
    if not password:
        raise ConfigError(f"expected a password in {key}, {path} is empty; write it there")
    return password


def _refuse_tls_files(settings: MqttSettings) -> None:
    for key in ("ca_file", "certificate_file", "key_file"):
        if getattr(settings, key) is not None:
            raise ConfigError(
                f"expected TLS beside mqtt.{key}, mqtt.broker is {settings.broker}; use mqtts://, or take the key out"
            )


def _tls(settings: MqttSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"expected PEM certificates in mqtt.ca_file, {settings.ca_file} has none ({_reason(error)}); "
            "copy the broker's authority there"
        ) from None
    # Python 3.13 began to refuse authorities without a key usage, which most home-made ones are; 3.11 takes them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if settings.certificate_file is not None:
        try:
            # A password is given so that an encrypted key fails instead of asking on the terminal.
            context.load_cert_chain(settings.certificate_file, settings.key_file, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                "expected a PEM certificate and its unencrypted key in mqtt.certificate_file and mqtt.key_file, "
                f"{settings.certificate_file} and {settings.key_file} are not ({_reason(error)}); copy the pair again"
            ) from None
    return context


def _reason(error: Exception) -> str:
    """One line, without paths twice."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
