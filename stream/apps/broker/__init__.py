"""One endpoint for the messages of several daemons: each source once, its newest status kept, subscribers limited."""
