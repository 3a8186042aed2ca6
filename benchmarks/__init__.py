"""What the gateway and what it stands in front of cost, measured."""
