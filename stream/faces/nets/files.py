"""Which files the face nets are, and where they come from. The build hook reads this too: it imports nothing of ours.

The nets are MediaPipe's (Apache-2.0, the same bytes from 0.10.9 to 0.10.21). The build takes them out of its wheel, as
a file, and puts them into ours: MediaPipe itself, with what it declares, is 950 MB of which nothing is ever imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REQUIREMENT = "mediapipe==0.10.14"
"""The newest release with its nets in the wheel that sends no usage statistics."""


@dataclass(frozen=True)
class NetFile:
    """One file of :data:`FOLDER`.

    Attributes:
        inside: Its place in MediaPipe's wheel.
        sha256: Of its bytes, hexadecimal.
    """

    inside: str
    sha256: str

    @property
    def name(self) -> str:
        """Its name in :data:`FOLDER`."""
        return self.inside.rpartition("/")[2]


FOLDER = Path(__file__).parent / "tflite"
FILES = {
    "short": NetFile(
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    "full": NetFile(
        "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    "landmark": NetFile(
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
}
"""By the net's name."""
