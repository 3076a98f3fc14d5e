"""Battles: the own engine behind `smax/...`, with units and maps as data."""
