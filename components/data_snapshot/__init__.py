"""What the data are just now, in one short text."""
