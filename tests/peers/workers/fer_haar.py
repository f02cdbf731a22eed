"""The fer package with the detector that it takes by default."""

from __future__ import annotations

from clip import frames, say
from fer.fer import FER

detector = FER()
for image in frames():
    found = detector.detect_emotions(image)
    say(max(found[0]["emotions"], key=found[0]["emotions"].get) if found else None)
