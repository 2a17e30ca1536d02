"""The journey: how stages become a DAG, and a DAG becomes a run."""
