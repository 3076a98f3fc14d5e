"""The command line: one module per verb, each with `main(argv)`. Heavy imports happen inside, after parsing."""
