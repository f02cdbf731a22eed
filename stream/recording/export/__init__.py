"""What a recording becomes: tables, XDF for physiology labs, ELAN files for those who annotate."""
