"""`fslog demo`: a small application, and what arrives of it."""
