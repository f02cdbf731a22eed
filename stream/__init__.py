"""stream: the daemon. Camera, faces, crops, windows, scores, ZeroMQ."""
