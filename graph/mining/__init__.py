"""Episodes become contrastive pairs: stances of like length, no duplicates, within caps, on one side of the split."""
