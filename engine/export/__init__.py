"""Graphs out: a torch module to a bundle, a bundle to another precision, batch or opset."""
