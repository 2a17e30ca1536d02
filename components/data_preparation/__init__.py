"""Annotations of any format -> one checked, split data set."""
