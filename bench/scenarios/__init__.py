"""What is measured: one module for each question, each with a function `run`."""
