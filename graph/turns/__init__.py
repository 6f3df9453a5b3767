"""Human turns judged: what the human typed next, as how they took the response before it."""
