"""One attempt at a call: which models are eligible, which is asked next, and what a failure means."""
