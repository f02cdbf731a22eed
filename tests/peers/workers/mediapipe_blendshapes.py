"""MediaPipe's Face Landmarker (Tasks API, video mode) with blendshapes: coefficients, no classes."""

from __future__ import annotations

import sys

import cv2
import mediapipe as mp
from clip import frames, say
from mediapipe.tasks.python import BaseOptions, vision

options = vision.FaceLandmarkerOptions(
    base_options=BaseOptions(model_asset_path=sys.argv[3]),
    running_mode=vision.RunningMode.VIDEO,
    output_face_blendshapes=True,
)
with vision.FaceLandmarker.create_from_options(options) as landmarker:
    for index, image in enumerate(frames()):
        picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        found = landmarker.detect_for_video(picture, index * 33)
        shapes = found.face_blendshapes
        say(max(shapes[0], key=lambda shape: shape.score).category_name if shapes else None)
