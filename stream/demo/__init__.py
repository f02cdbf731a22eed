"""The project's own demo clip: one public-domain portrait moved through four expressions by its landmarks."""
