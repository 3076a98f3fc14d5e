"""The package's own engine of SMAX battles (`smax/...`), with units and maps as data."""
