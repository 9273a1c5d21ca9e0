"""What tools/chaos and tools/mutants do to a run, to its files and to the code."""
