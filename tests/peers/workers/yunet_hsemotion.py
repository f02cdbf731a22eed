"""hsemotion-onnx behind YuNet. Its weights are fetched at run time: random ones of that shape stand in."""

from __future__ import annotations

import sys

import cv2
from clip import frames, say
from hsemotion_onnx.facial_emotions import HSEmotionRecognizer
from yunet import YuNet

detector, recogniser = YuNet(sys.argv[3]), HSEmotionRecognizer("enet_b0_8_best_vgaf")
for image in frames():
    boxes = detector.boxes(image)
    if not boxes:
        say(None)
        continue
    left, top, right, bottom = boxes[0]
    say(recogniser.predict_emotions(cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2RGB), logits=True)[0])
