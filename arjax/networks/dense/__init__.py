"""Networks on vectors: a matrix, a mask or a network per site."""
