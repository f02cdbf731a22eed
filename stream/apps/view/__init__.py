"""A live page of what the daemon publishes, served to browsers: ``dfer-stream view``."""
