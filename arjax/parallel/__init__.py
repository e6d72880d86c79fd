"""Devices and processes: the mesh, the placement of arrays on it, and how processes find one another."""
