"""The least evidence on which anything is proved. No torch."""

MIN_VALIDATION = 4
MIN_TEST = 6
MIN_GROUPS = 2
