"""From what the nets see to faces that keep their ids."""
