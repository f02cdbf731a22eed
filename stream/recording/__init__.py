"""Messages kept as they came, in MCAP files, and what is made of them: replay, tables, files for labs.

Read first ``mcap_file.py`` (what a recording is), then ``reading.py`` (what is left of one that was cut), ``folder.py``
(ring, quota, triggers) and ``recorder.py``.
"""
