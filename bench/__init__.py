"""The project's own benchmark: `python -m bench`, or `just bench`.

It starts real servers, talks to them as a client does, and compares rates that were measured one
right after the other: ratios say more than rates, which differ from machine to machine and from
minute to minute. `docs/explain/performance.md` tells how, and what came out.
"""
