"""Linear recurrences: the forms that all of them share, and the networks that are made of them."""
