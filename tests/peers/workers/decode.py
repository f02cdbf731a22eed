"""Frames as raw bytes for workers under Node: width and height as little-endian uint32, then RGB; and again."""

from __future__ import annotations

import struct
import sys

import cv2
from clip import frames

for image in frames():
    height, width = image.shape[:2]
    sys.stdout.buffer.write(struct.pack("<II", width, height))
    sys.stdout.buffer.write(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).tobytes())
