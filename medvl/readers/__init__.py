"""OCR programs in a model's place, on the same pages and by the same measures: is the model worth its cost?

reader      what every reader does: which examples it answers, and their answers
tesseract   the program tesseract
rapidocr    PP-OCR by the package rapidocr
"""
