"""The commands of ``dfer-engine``, one module each."""
