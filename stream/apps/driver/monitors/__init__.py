"""What is watched for: each monitor takes observations and says how far something has gone."""
