"""What a request asks of its answer's format: read from its fields, validated, compiled."""
