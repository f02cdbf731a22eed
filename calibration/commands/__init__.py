"""The commands of ``dfer-calibrate``, one module each."""
