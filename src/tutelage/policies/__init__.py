"""Agents, teams, what they see, how they act, and what they cost."""
