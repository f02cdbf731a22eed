"""Settings shared by all tests."""

from hypothesis import settings

# Shared machines stall for seconds; how long one example takes says nothing about the code.
settings.register_profile("dferstream", deadline=None, max_examples=60)
settings.load_profile("dferstream")
