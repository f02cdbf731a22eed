"""Back ends: one small protocol, one module per runtime."""
