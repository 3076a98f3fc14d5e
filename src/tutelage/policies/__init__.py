"""Policies of agents and teams: their observations, acting rules, sizes and costs."""
