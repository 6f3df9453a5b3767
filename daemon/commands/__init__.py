"""The command line, a module for each group of commands; every import of weight happens inside a command."""
