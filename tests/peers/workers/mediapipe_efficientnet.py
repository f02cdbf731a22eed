"""The loop many write by hand: MediaPipe's short-range detector, a crop, EfficientNet-B0 on one thread."""

from __future__ import annotations

import sys

import cv2
import mediapipe as mp
import numpy as np
import onnxruntime as ort
from clip import frames, say

LABELS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
options = ort.SessionOptions()
options.intra_op_num_threads = 1
net = ort.InferenceSession(sys.argv[3], options, providers=["CPUExecutionProvider"])
mean, scale = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
with mp.solutions.face_detection.FaceDetection(min_detection_confidence=0.5, model_selection=0) as detector:
    for image in frames():
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        height, width = rgb.shape[:2]
        found = detector.process(rgb).detections
        if not found:
            say(None)
            continue
        box = found[0].location_data.relative_bounding_box
        left, top = max(0, int(box.xmin * width)), max(0, int(box.ymin * height))
        right, bottom = int((box.xmin + box.width) * width), int((box.ymin + box.height) * height)
        crop = cv2.resize(rgb[top : max(bottom, top + 1), left : max(right, left + 1)], (224, 224))
        x = ((crop.astype(np.float32) / 255 - mean) / scale).transpose(2, 0, 1)[None]
        say(LABELS[int(net.run(None, {"input": x})[0][0].argmax())])
