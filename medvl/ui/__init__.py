"""A page for people: a client of `medvl serve` in the browser, in an environment of its own.

Gradio and medvl need different versions of Pillow, so this package imports nothing else of medvl, only the standard
library and what requirements.txt beside this file names. Start: `python -m medvl.ui --url http://127.0.0.1:8000`.
"""
