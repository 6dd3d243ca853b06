"""A plan told: as text (`_print`), as a piece of a web page (`_html`), one parameter in words.

`_rows` are the distinct decisions that both show, `_folding` writes many names as one, `_explain`
speaks of one parameter, `_difference` of two plans.
"""
