"""The processes of the gateway and what they share."""
