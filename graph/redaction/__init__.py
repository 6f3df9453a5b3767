"""What no store may hold: keys, tokens, passwords, mail addresses, home folders."""
