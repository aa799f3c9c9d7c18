"""How a body gets to the endpoint."""
