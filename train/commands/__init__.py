"""The commands of ``dfer-train``, one module each: its arguments and what it does. torch is imported when one runs."""
