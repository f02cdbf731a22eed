"""Writes frames of one colour and of changing sizes into a slot, as fast as it can, until it is killed.

Run as a script with the slot's descriptor: the other process of the torn-read test.
"""

from __future__ import annotations

import sys

from stream.camera.capture.slot import Slot, SlotMeta

SIZES = ((48, 64), (240, 320), (7, 5), (480, 640))


def main() -> None:
    slot = Slot(int(sys.argv[1]))
    seq = 0
    while True:
        height, width = SIZES[seq // 100 % len(SIZES)]
        slot.paint(height, width)[:] = seq % 251
        slot.commit(SlotMeta(seq, seq * 7, seq * 11, seq + 1, 0, seq % 13), height, width)
        seq += 1


if __name__ == "__main__":
    main()
