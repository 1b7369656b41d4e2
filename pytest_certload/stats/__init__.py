"""What do the samples say? Percentiles, counts and rates; numpy only, no input or output."""
