"""Devices and processes: the placement of arrays on a mesh, and the search of processes for one another."""
