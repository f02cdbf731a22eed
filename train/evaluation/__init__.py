"""What is measured on a test part, its figures and its page."""
