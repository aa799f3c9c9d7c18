"""`fslog send` and `fslog validate`: files of events."""
