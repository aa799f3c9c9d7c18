"""`fslog spool`: show what waits in a spool's directory, send it, manage the quarantine."""
