"""Reports of run directories: an HTML page, a JSON file of the numbers, and the tables in Markdown.

runs        the content of a run directory
collection  the runs and sweeps of one report
tables      numbers with their source, and tables of them
figures     SVG figures that take the page's colours
audits      what the audit of training against evaluation found
overview    what was run, configuration, learning curves, audit, cost
scores      before and after training, evaluation
deployment  memory, latency and accuracy by storage format
sweeps      the runs of a sweep, how much each key matters, what failed
gallery     pages with what the model missed and invented
limits      what cannot be concluded from the numbers
report      writes the report's files
wandb_report  the same content as a W&B report
"""
