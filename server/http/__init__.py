"""HTTP: the protocol, the middleware, errors, streams."""
