"""A newcomer's folder of clips, faults and all: python -m tests.train.own_clips FOLDER

Six persons show four expressions three times each, a second and a half at 12 frames/s, in 320×240: 72 clips, cut
from the demo clip's film and laid into a room of the person's own, turned, zoomed, tinted and moving as in no other
take. The faces are one woman's under six disguises: a model that learns from them has learnt nothing of people.

Planted, each to be named by whoever reads the folder: :data:`PLANTED`.
"""

from __future__ import annotations

import argparse
import zlib
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.stream.camera.video.clips import Kind, stored, write_frames
from train.data.frames import iterate_frames
from train.data.record import Clip

Picture = NDArray[np.uint8]

PERSONS = tuple(f"p{number}" for number in range(6))
TAKES = 3
SHOWN_S = {"neutral": (0.0, 1.9), "happy": (2.6, 4.5), "surprise": (4.9, 6.8), "sad": (7.4, 9.6)}
"""Folder of a class -> where the demo clip shows it."""
CLIP_S, HZ, SIZE = 1.5, 12, (320, 240)

PLANTED = {
    "unknown class": "gleeful/p0/0.mp4",
    "broken file": "happy/p1/broken.mp4",
    "one clip twice": "sad/p5/again.mp4",
    "upside down": "surprise/p2/phone-upside-down.mp4",
    "turned by the player": "surprise/p3/phone.mp4",
    "nothing of a face": "neutral/p4/wall.mp4",
}
"""What is wrong -> where."""


def film(start_s: float = 0.0, end_s: float | None = None) -> dict[float, Picture]:
    """The demo clip's frames by their time, s."""
    with resources.as_file(resources.files("stream.demo") / "clip.mp4") as path:
        clip = Clip("demo", path, "neutral", start_s=start_s, end_s=end_s)
        return {start_s + seconds: image for seconds, image in iterate_frames(clip)}


def take(frames: dict[float, Picture], label: str, person: str, number: int) -> list[Picture]:
    """The frames of one clip."""
    own = np.random.default_rng(zlib.crc32(person.encode()))
    chance = np.random.default_rng(zlib.crc32(f"{label}/{person}/{number}".encode()))
    room = cv2.resize(own.integers(30, 225, (5, 7, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    gain, stretch, mirrored = own.uniform(0.75, 1.15, 3), own.uniform(0.92, 1.08), own.random() < 0.5
    start, end = SHOWN_S[label]
    start += (end - start - CLIP_S) * number / max(TAKES - 1, 1)
    phase, swing = chance.uniform(0, 6, 2), chance.uniform(4, 12, 2)
    zoom, tilt, place = chance.uniform(0.4, 0.62), chance.uniform(-9, 9), chance.uniform((-60, -25), (60, 25))
    times = np.array(list(frames))
    made = []
    for index in range(round(CLIP_S * HZ)):
        image = frames[float(times[np.abs(times - start - index / HZ).argmin()])]
        image = image[:, ::-1] if mirrored else image
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), tilt + 2 * np.sin(0.4 * index + phase[0]), zoom)
        turn[0] *= stretch
        shift = np.array(SIZE) / 2 - (width * stretch / 2, height / 2)
        turn[:, 2] += shift + place + swing * np.sin(0.5 * index + phase)
        inside = cv2.warpAffine(np.full((height, width), 255, np.uint8), turn, SIZE)[..., None] > 127
        laid = cv2.warpAffine(np.ascontiguousarray(image), turn, SIZE, flags=cv2.INTER_AREA)
        picture = np.where(inside, laid, room) * gain
        made.append(np.clip(picture, 0, 255).astype(np.uint8))
    return made


def write(path: Path, pictures: list[Picture], turn: int = 0) -> Path:
    """A clip; ``turn`` quarter turns are the player's to make."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = SIZE if turn % 2 == 0 else SIZE[::-1]
    kind = Kind("libx264", "mp4", turn=turn, size=size)
    times = [round(index * 25 / HZ) for index in range(len(pictures))]
    return write_frames(path, kind, [stored(picture, kind) for picture in pictures], times)


def write_folder(root: Path) -> Path:
    """The folder, ``<class>/<person>/<clip>``, with everything that is planted."""
    frames = film()
    for label in SHOWN_S:
        for person in PERSONS:
            for number in range(TAKES):
                write(root / label / person / f"{number}.mp4", take(frames, label, person, number))
    for number in range(2):
        write(root / "gleeful" / "p0" / f"{number}.mp4", take(frames, "happy", "p0", 10 + number))
    whole = (root / "happy/p1/0.mp4").read_bytes()
    (root / PLANTED["broken file"]).write_bytes(whole[len(whole) // 3 :])
    again = [np.clip(picture * 0.85, 0, 255).astype(np.uint8) for picture in take(frames, "sad", "p4", 0)]
    write(root / PLANTED["one clip twice"], again)
    phone = take(frames, "surprise", "p2", 7)
    write(root / PLANTED["upside down"], [np.ascontiguousarray(picture[::-1, ::-1]) for picture in phone])
    write(root / PLANTED["turned by the player"], take(frames, "surprise", "p3", 7), turn=2)
    wall = [
        np.ascontiguousarray(np.resize(picture[:1, :1], picture.shape)) for picture in take(frames, "neutral", "p4", 7)
    ]
    write(root / PLANTED["nothing of a face"], wall)
    (root / "notes.txt").write_text("filmed in the lab\n")
    return root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print(write_folder(parser.parse_args().folder))


if __name__ == "__main__":
    main()
