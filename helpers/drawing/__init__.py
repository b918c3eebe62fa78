"""Pictures and charts: the frame that they share, and what is drawn in it from traces, layers and training runs."""
