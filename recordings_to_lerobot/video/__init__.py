"""Videos: probed and decoded, encoded and packed, sampled."""
