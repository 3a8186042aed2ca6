"""One attempt at a call: whom to ask next, who is eligible, what a failure means."""
