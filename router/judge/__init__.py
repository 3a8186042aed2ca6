"""Judges: is a small model's answer good enough to accept?"""
