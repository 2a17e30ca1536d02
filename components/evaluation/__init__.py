"""The official numbers of the best model, and the report."""
