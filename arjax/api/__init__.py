"""The Python interface: training, scores, samples and plots in a line each. `arjax` itself has the public names."""
