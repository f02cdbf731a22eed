"""What a face does, as events: from the messages alone, so that whoever has them gets the same."""
