"""HTTP: the edge, the routes, and the responses that serve a call."""
