"""What leaves the daemon: messages, their schema, and the socket they travel through."""
