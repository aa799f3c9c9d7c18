"""`fslog demo`: a small application, and the events that it sends."""
