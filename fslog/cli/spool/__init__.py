"""`fslog spool`: what waits in a spool's directory."""
