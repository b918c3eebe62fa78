"""Inside of chain.py: the cells that notebooks share, their canonical form, and the HTML report."""
