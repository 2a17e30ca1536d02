"""Runs in a cluster: `client` is the door (`maskline.Client`), the files beside it each do one part."""
