"""How the daemon is: rates and heartbeats, the machine under it, the service manager above it."""
