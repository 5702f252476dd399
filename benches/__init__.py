"""What things cost: `make bench`, or ``python -m benches``.

One file a path. Contestants take turns within one run, so that what the machine does meanwhile meets all of them;
figures are medians, and what lasts beyond this machine are the ratios. Nothing here judges: the goals stand beside
the figures, and the exit status is 0.
"""
