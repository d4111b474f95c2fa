"""Other queues. Each module has `running`, a context that starts one and ends it."""
