"""online-emotion-detection behind YuNet, in the runtime that it chooses itself; random weights of that shape."""

from __future__ import annotations

import sys

import cpu_torchvision  # noqa: F401  # first
import numpy as np
from clip import frames, say
from online_emotion import EmotionRecognizer
from yunet import YuNet

detector, recogniser = YuNet(sys.argv[3]), EmotionRecognizer("hsemotion", device="cpu")
for image in frames():
    boxes = detector.boxes(image)
    if not boxes:
        say(None)
        continue
    say(recogniser.predict_on_boxes(image, np.array(boxes[:1], np.float32)).emotions[0].label)
