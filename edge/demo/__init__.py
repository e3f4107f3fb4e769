"""What ``python -m edge demo`` plays and how it listens."""

from pathlib import Path

CLIP = Path(__file__).with_name("astronaut.mp4")
"""20 s, 640x480: a face enters, moves, tilts, comes closer, leaves and comes back. Made by tools/make_demo_clip.py from
NASA's public-domain portrait."""
