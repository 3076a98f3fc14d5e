"""Gathering and replaying experience."""
