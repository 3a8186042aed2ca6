"""What is `routing.hold` worth? Streams of a real cascade: how soon they begin, and what stays right."""
