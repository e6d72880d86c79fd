"""Devices and processes: the mesh, the placement of arrays on it, and the search of processes for one another.

A mesh has the axes `data`, `fsdp` and `tensor`. Rules place a parameter by its path; a batch is divided over `data` and
`fsdp`. In training and in evaluation, each process reads only the rows of a batch that its devices hold.
"""
