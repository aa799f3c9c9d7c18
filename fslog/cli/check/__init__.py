"""`fslog check`: what a logging configuration makes of log calls."""
