"""Where messages go besides ZeroMQ: terminal, window, pictures, log."""
