"""Prints who feels what, with nothing of dferstream installed: pip install pyzmq; python subscriber.py [ENDPOINT]."""

import json
import sys
import time

import zmq

socket = zmq.Context().socket(zmq.SUB)
socket.subscribe("faces/")
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570")
rate_hz = 2.0
while True:
    # Alive is younger than ten periods: whoever waits for longer has no daemon any more.
    if not socket.poll(int(10_000 / rate_hz)):
        print(json.dumps({"t": time.monotonic(), "state": "silent"}), flush=True)
        continue
    message = json.loads(socket.recv().partition(b" ")[2])  # b"faces/cam0 {...}"
    rate_hz = message.get("rate_hz") or rate_hz
    if not message["valid"]:
        print(json.dumps({"frame": message["frame_id"], "state": message["reason"]}), flush=True)
        continue
    for face in message["faces"]:
        # No label is an answer too: unsure, or not ready yet.
        label = face.get("label") or ("unsure" if face["ready"] else face["reason"])
        print(json.dumps({"frame": message["frame_id"], "face": face["id"], "state": label}), flush=True)
