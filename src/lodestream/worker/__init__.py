"""Background work: claim a job, run it, finish it."""
