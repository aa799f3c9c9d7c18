"""Lines on disk, until the endpoint has them."""
