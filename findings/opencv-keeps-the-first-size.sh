#!/usr/bin/env bash
# Library: opencv-python-headless 4.14.0.94 (its FFMPEG back end), on a Motion JPEG stream whose pictures change size.
# Expected: read() gives each picture at its own size, as the stream holds it, or says that the size changed.
# Seen:     every later picture is scaled to the size of the first, squashed where the shape differs; read() is true and
#           CAP_PROP_FRAME_WIDTH keeps the first width, so nothing tells.
# For us:   Motion JPEG is taken as packets and decoded at the size each packet says (stream/camera/drivers).
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 numpy==2.4.2
"$room/venv/bin/python" - "$room/stream.mjpeg" <<'PY'
import sys

import cv2
import numpy as np

path = sys.argv[1]
written = [(480, 640)] * 3 + [(720, 360)] * 3
with open(path, "wb") as stream:
    for rows, columns in written:
        made, jpeg = cv2.imencode(".jpg", np.full((rows, columns, 3), 128, np.uint8))
        assert made
        stream.write(jpeg.tobytes())
capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
read = []
while True:
    good, picture = capture.read()
    if not good:
        break
    read.append(picture.shape[:2])
print("opencv", cv2.__version__)
print("written", written)
print("read   ", read, "width property", capture.get(cv2.CAP_PROP_FRAME_WIDTH))
assert read and set(read) == {(480, 640)}, "behaviour has changed"
print("as found: every picture has the first one's size")
PY
