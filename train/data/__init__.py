"""Data sets: DFEW, FERV39k, MAFW, own clips and synthetic clips."""
