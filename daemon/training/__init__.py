"""From a verified vector to weights: teacher, gated rank-1 solve, APOLLO, gates, artefacts (imports torch)."""
