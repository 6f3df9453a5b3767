"""What inference servers read: the registry's manifest, vector files, GGUF export. No torch."""
