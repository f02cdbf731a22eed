"""Rows as one Parquet data set of shards, here or in an object store, with a manifest of what each holds."""
