"""MARINE: replenishment at sea."""
