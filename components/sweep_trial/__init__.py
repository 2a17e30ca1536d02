"""One slot of the sweep: ask the study, train, report, tell."""
