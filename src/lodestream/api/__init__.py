"""HTTP: nothing but translation."""
