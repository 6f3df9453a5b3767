"""The agent's memory, and nothing but memory: sources, typed graph, patterns, pairs. No torch, no store, no daemon."""
