"""HTTP itself: the protocol, the middleware, errors, streams."""
