"""FireCommander: some agents see, others douse."""
