"""Reports of run directories: one page to read, one file of numbers, the tables in Markdown.

runs        what a run directory holds
collection  runs and sweeps together
tables      numbers that know where they stand, tables of them
figures     pictures as SVG that takes the page's colours
overview    what was run, composition, learning curves, audit, cost
scores      before and after, evaluation
deployment  memory, latency and accuracy of the ways to store and run a model
sweeps      the runs of a sweep, what its keys matter, what failed
gallery     pages with what was missed and what was invented
limits      what the numbers do not say
report      all of it, written
wandb_report  the same as a W&B report
"""
