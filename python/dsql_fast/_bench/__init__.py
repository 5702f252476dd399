"""What things cost: `dsql-fast bench`.

One module a bench. Contestants take turns within one run, so that what the machine does meanwhile meets all of
them; figures are medians, and what lasts beyond this machine are the ratios. Nothing here judges: the goals stand
beside the figures, and the exit status is 0 whether they are met or not. Where we do not win, the row stays in.

- `_figures`: what is found; `_run`: where it is put while a bench runs; `_output`: as JSON; `_results`: read back.
- `_words`: how figures are said, wherever they are; `_goals`: what they should be, and which of them pages show.
- `_report`: the pages' figures; `_charts`, `_overview`: charts, drawn with `_drawing`.
- `_contest`: contestants as programs of their own (`contestants/`), in whatever language, which take turns.
- `_peers`: the environments that the peers among them run in, made on demand.
- `_timing`: calls timed in turns within this process.
"""
