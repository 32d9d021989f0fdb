"""What benches/compare and benches/scale share; Python's standard library only."""
