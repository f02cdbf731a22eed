"""The commands of ``dfer-stream``, one module each with ``add_arguments`` and ``run``."""
