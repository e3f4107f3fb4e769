"""Is there an Edge TPU, and what is installed for it? Looked up in files: nothing of it is loaded into this process."""

import importlib.util
from pathlib import Path

USB_IDS = {
    ("1a6e", "089a"): "before its first inference",
    ("18d1", "9302"): "after its first inference",
}
"""Vendor and product of the Coral USB Accelerator; they change when its firmware is loaded."""


def find_edge_tpus(root: Path = Path("/")) -> list[str]:
    """One line for each Edge TPU on this machine, USB or PCIe; empty where there is none. root: holds sys and dev."""
    found = []
    for device in sorted(root.glob("sys/bus/usb/devices/*")):
        ids = (_text(device / "idVendor"), _text(device / "idProduct"))
        if ids in USB_IDS:
            found.append(f"USB {':'.join(ids)} ({USB_IDS[ids]}) at {_text(device / 'speed') or 'unknown'} Mbit/s")
    return found + [f"PCIe /dev/{device.name}" for device in sorted(root.glob("dev/apex_*"))]


def pycoral_kind() -> str | None:
    """``google``, ``other`` (PyPI's unrelated package of that name) or None; decided without importing it."""
    spec = importlib.util.find_spec("pycoral")
    if spec is None:
        return None
    folders = spec.submodule_search_locations or []
    return "google" if any((Path(folder) / "utils" / "edgetpu.py").is_file() for folder in folders) else "other"


def pycoral_warning() -> str | None:
    """A line for log and doctor where the unrelated pycoral is installed."""
    if pycoral_kind() != "other":
        return None
    return (
        "expected Google's pycoral or none, found an unrelated package of that name (PyPI's); it is not used: "
        "pip uninstall pycoral"
    )


def _text(path: Path) -> str:
    """A sysfs attribute; empty where it can't be read (the device may leave at any time)."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
