"""Who may send windows, and who may read what became of them."""
