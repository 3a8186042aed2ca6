"""What is learned from labelled calls: calibration, evidence, the expected gain of a larger model."""
