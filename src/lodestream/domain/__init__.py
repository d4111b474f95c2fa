"""The words: frozen structs and pure rules; no input, no output."""
