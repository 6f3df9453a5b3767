"""Pages to look at: one version with its proof, or everything at once. No script, nothing from elsewhere."""
