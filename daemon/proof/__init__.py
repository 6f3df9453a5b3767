"""The proof of a vector: prediction, layer and dose, one measurement, baselines, side effects (imports torch)."""
