"""Pictures of what the daemon publishes: drawn from messages, so any subscriber that has the frames can draw them."""
