"""Named patterns over episodes: built in, configured, or told by the memory; and which pole a response shows."""
