"""What it takes to run an agent outside: measured cost, latency, and the smallest implementation."""
