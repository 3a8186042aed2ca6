"""A stream that broke off after its beginning: what the client has of it, who goes on, and how the parts are joined."""
