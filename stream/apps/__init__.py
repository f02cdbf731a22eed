"""Programs that are plain subscribers of the public messages: they see what any subscriber sees."""
