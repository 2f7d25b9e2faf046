"""Raw files of simulations (VTP, VTU, VTK, STL): a block at a time where that can be, else by vtk.

`raw_files` has what others use. The vtk library works in a process of its own (`child`), because
what it is given to read may end it.
"""
